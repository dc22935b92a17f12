"""`mgf units`: frames of any upstream as discrete units, and how well they follow the phones."""
