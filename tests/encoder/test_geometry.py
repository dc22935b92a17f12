"""Lengths: equal to what the conv stack really makes, and strings read without evaluation."""

import pytest
import torch

from mgf_fairseq.encoder.feature_extractor import ConvFeatureExtractor
from mgf_fairseq.encoder.geometry import ConvGeometry, middle_hop, parse_conv_layers
from mgf_fairseq.encoder.padding import num_samples_of, padding_mask_of

WAV2VEC2 = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"
THIN = [(1, k, s) for _, k, s in parse_conv_layers(WAV2VEC2)]


def test_num_frames_equals_the_conv_stack_around_the_receptive_field_and_one_second() -> None:
    extractor = ConvFeatureExtractor(THIN, "layer_norm", bias=False)
    geometry = ConvGeometry.of(THIN)
    for num_samples in [*range(400, 2001), *range(15995, 16006)]:
        frames = extractor(torch.zeros(1, num_samples)).shape[1]
        assert geometry.num_frames(num_samples) == frames, num_samples


def test_geometry_of_wav2vec2_is_320_and_400() -> None:
    geometry = ConvGeometry.of(THIN)
    assert (geometry.hop_length, geometry.receptive_field) == (320, 400)
    assert geometry.num_frames(399) == 0
    assert geometry.num_frames(400) == 1


def test_the_middle_hops_of_frames_lie_side_by_side_around_their_centers() -> None:
    geometry = ConvGeometry.of(THIN)
    hop = geometry.hop_length
    starts = [k * hop + middle_hop(geometry.receptive_field, hop) for k in range(4)]
    assert [start + hop / 2 for start in starts] == geometry.centers(4 * hop + 80)


def test_a_string_of_lists_sums_and_products_is_read() -> None:
    layers = parse_conv_layers(WAV2VEC2)
    assert layers[0] == (512, 10, 5)
    assert len(layers) == 7


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "512",
        "[(512, 10)]",
        "[(512, 10, 0)]",
        "__import__('os').getcwd()",
        "[(1,2,3)",
        "[1]",
    ],
)
def test_anything_else_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ValueError, match="conv_feature_layers"):
        parse_conv_layers(text)


def test_padding_masks_and_lengths_are_inverse() -> None:
    mask = padding_mask_of([3, 0, 5], 5, torch.device("cpu"))
    assert num_samples_of(mask) == [3, 0, 5]
    assert mask[0].tolist() == [False, False, False, True, True]
