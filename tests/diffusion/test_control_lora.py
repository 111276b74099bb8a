"""A control as the difference to its UNet: there and back, silent when fresh, plain words for a wrong file."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from engine.contract.errors import DamagedFile, IncompatibleAdapter
from engine.diffusion.control_lora import CHANNELS_KEY, KIND, compress_control, expand_control
from engine.starter.unet import build_unet

State = dict[str, torch.Tensor]
METADATA = {"easel.kind": KIND, CHANNELS_KEY: "4,8,8,16"}
MODULE = "down_blocks.1.resnets.0.conv1"


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(3)
    return build_unet((32, 32, 64), cross_dim=16).eval().requires_grad_(False)


@pytest.fixture
def state(unet: UNet2DConditionModel) -> State:
    """A control with something in every tensor: rank 4 for each matrix and convolution."""
    chance = torch.Generator().manual_seed(4)
    bare = _bare(unet)
    pairs: State = {}
    for name, value in bare.state_dict().items():
        if value.ndim > 1 and not name.startswith("controlnet_"):
            module = name.removesuffix(".weight")
            pairs[f"{module}.up"] = torch.randn(value.shape[0], 4, generator=chance) * 0.1
            pairs[f"{module}.down"] = torch.randn(4, value[0].numel(), generator=chance) * 0.1
        elif name.startswith("controlnet_"):
            pairs[name] = torch.randn(value.shape, generator=chance) * 0.1
    return pairs


def _bare(unet: UNet2DConditionModel) -> Any:
    from diffusers.models.controlnets.controlnet import ControlNetModel

    return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8, 8, 16))


def predict(unet: Any, control: Any) -> torch.Tensor:
    """(2, 8, 16, 16) prediction of the UNet with the control's residuals, on fixed numbers."""
    chance = torch.Generator().manual_seed(9)
    latents, embeds = torch.randn(2, 8, 16, 16, generator=chance), torch.randn(2, 7, 16, generator=chance)
    picture = torch.rand(2, 3, 128, 128, generator=chance)
    with torch.inference_mode():
        down, mid = (None, None) if control is None else control(latents, 500, embeds, picture, return_dict=False)
        return unet(latents, 500, embeds, down_block_additional_residuals=down, mid_block_additional_residual=mid, return_dict=False)[0]


def test_there_and_back(unet: UNet2DConditionModel, state: State) -> None:
    control = expand_control(state, METADATA, unet)
    again = expand_control(compress_control(control, unet, rank=4), METADATA, unet)
    for (name, ours), theirs in zip(control.state_dict().items(), again.state_dict().values(), strict=True):
        assert float((ours - theirs).abs().max()) < 1e-6, name
    assert compress_control(control, unet, rank=4).keys() == state.keys()
    assert float((predict(unet, control) - predict(unet, None)).abs().max()) > 1e-2


def test_the_difference_is_added_to_the_weight_of_that_name(unet: UNet2DConditionModel, state: State) -> None:
    control: Any = expand_control(state, METADATA, unet)
    base: Any = unet
    expected = base.down_blocks[1].resnets[0].conv1.weight + (state[f"{MODULE}.up"] @ state[f"{MODULE}.down"]).view(32, 32, 3, 3)
    assert torch.allclose(control.down_blocks[1].resnets[0].conv1.weight, expected)
    assert torch.equal(control.down_blocks[1].resnets[0].norm1.weight, base.down_blocks[1].resnets[0].norm1.weight)
    assert torch.equal(control.controlnet_mid_block.bias, state["controlnet_mid_block.bias"])


def test_a_fresh_control_says_nothing(unet: UNet2DConditionModel) -> None:
    state = compress_control(_bare(unet), unet, rank=4)
    assert not any(name.endswith((".up", ".down")) for name in state)
    assert torch.equal(predict(unet, expand_control(state, METADATA, unet)), predict(unet, None))


def test_expanding_leaves_the_unet_and_chance_alone(unet: UNet2DConditionModel, state: State) -> None:
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    chance = torch.get_rng_state()
    control = expand_control(state, METADATA, unet)
    assert torch.equal(torch.get_rng_state(), chance)
    for parameter in control.parameters():
        assert not parameter.requires_grad
        parameter.data.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())


def test_a_unet_that_wears_a_lora_counts_as_bare(state: State) -> None:
    from peft import LoraConfig

    torch.manual_seed(3)
    dressed: Any = build_unet((32, 32, 64), cross_dim=16).eval()
    plain = expand_control(state, METADATA, dressed).state_dict()
    dressed.add_adapter(LoraConfig(r=2, target_modules=["conv1", "to_q", "conv_in"], init_lora_weights=False))
    for name, value in expand_control(state, METADATA, dressed).state_dict().items():
        assert torch.equal(value, plain[name]), name


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda state: state.pop("controlnet_mid_block.bias"), DamagedFile, "'controlnet_mid_block.bias' is missing"),
        (lambda state: state.pop(f"{MODULE}.up"), DamagedFile, "half of the pair"),
        (lambda state: state.update({"a.weight": torch.zeros(2)}), DamagedFile, "nobody knows"),
        (lambda state: state.update({"": torch.zeros(2)}), DamagedFile, "nobody knows"),
        (lambda state: state.update({f"{MODULE}.up": torch.zeros(32, 3)}), DamagedFile, "belong together"),
        (lambda state: state.update({f"{MODULE}.up": torch.full((32, 4), float("nan"))}), DamagedFile, "no numbers"),
        (lambda state: state.update({f"{MODULE}.up": torch.zeros(64, 4)}), IncompatibleAdapter, "another size"),
        (lambda state: state.update({"controlnet_mid_block.bias": torch.zeros(5)}), IncompatibleAdapter, "another size"),
        (lambda state: state.update({"controlnet_down_blocks.99.bias": torch.zeros(5)}), IncompatibleAdapter, "has not"),
        (
            lambda state: state.update({"mid_block.far.up": torch.zeros(4, 4), "mid_block.far.down": torch.zeros(4, 4)}),
            IncompatibleAdapter,
            "has not",
        ),
    ],
)
def test_a_wrong_file_is_said_in_words(unet: UNet2DConditionModel, state: State, change: Any, error: type[Exception], words: str) -> None:
    change(state)
    with pytest.raises(error, match=words) as caught:
        expand_control(state, METADATA, unet)
    assert getattr(caught.value, "field", None) == "controls"


@pytest.mark.parametrize("metadata", [{}, {"easel.kind": "upscaler"}, {"easel.kind": KIND}, {"easel.kind": KIND, CHANNELS_KEY: "8,-1,9999999999,²"}])
def test_a_wrong_header_is_said_in_words(unet: UNet2DConditionModel, state: State, metadata: dict[str, str]) -> None:
    with pytest.raises((IncompatibleAdapter, DamagedFile)):
        expand_control(state, metadata, unet)
