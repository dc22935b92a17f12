"""Predict audio seconds per second on several GPUs from the measured rate of one. A prediction.

An update takes each GPU what it takes one, and then, hidden by nothing, a ring all-reduce of the
fp32 gradients: 2 (W - 1) / W times their bytes over the slowest link. Loading, stragglers and the
overlap of exchange with the backward pass are not in it.
"""

from __future__ import annotations

import argparse

BYTES = 4  # of a gradient


def predicted_rate(
    ranks: int, rate: float, audio_s: float, parameters: float, gigabytes_s: float
) -> float:
    """Predict audio seconds per second of all ranks.

    Args:
        ranks: GPUs, W.
        rate: measured audio seconds per second of one GPU.
        audio_s: seconds of audio of one GPU's update, all its micro-batches.
        parameters: of the model, objectives included.
        gigabytes_s: 1e9 bytes per second of the slowest link between two GPUs, one way.
    """
    exchange = 2 * (ranks - 1) / ranks * parameters * BYTES / (gigabytes_s * 1e9)
    return ranks * audio_s / (audio_s / rate + exchange)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rate", type=float, required=True, help="audio-s/s measured on one GPU")
    parser.add_argument("--audio", type=float, default=87.5, help="seconds per GPU and update")
    parser.add_argument("--parameters", type=float, default=95e6, help="of the model")
    parser.add_argument("--node-link", type=float, default=100, help="GB/s between GPUs of a node")
    parser.add_argument("--net-link", type=float, default=10, help="GB/s between nodes")
    arguments = parser.parse_args()
    if min(vars(arguments).values()) <= 0:
        parser.error("every number must be above 0")
    print("| GPUs | link, GB/s | predicted audio-s/s | of perfect |\n|---|---|---|---|")
    for ranks in (1, 8, 64):
        link = arguments.node_link if ranks <= 8 else arguments.net_link
        rate = predicted_rate(ranks, arguments.rate, arguments.audio, arguments.parameters, link)
        print(f"| {ranks} | {link:g} | {rate:.0f} | {rate / ranks / arguments.rate:.1%} |")
    print("A prediction from the rate of one GPU; not measured.")


if __name__ == "__main__":
    main()
