"""Pure losses: (prediction, target, valid) to a sum and the count that it covers."""
