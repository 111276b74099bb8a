"""What turns a picture into a control map: one row each. Facts only; what runs them is engine/diffusion/preprocessors.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["edges", "lines", "depth", "normals", "pose", "segments", "shuffle", "other"]
# A picture that already is a map goes to the control as it is.
NO_PREPROCESSOR = "none"


@dataclass(frozen=True)
class Knob:
    """One setting: its bounds, and what it is when nothing is said. A switch is 0 or 1."""

    name: str
    title: str
    minimum: float
    maximum: float
    default: float
    step: float = 1.0
    is_switch: bool = False

    @property
    def is_whole(self) -> bool:
        return self.step % 1 == 0


@dataclass(frozen=True)
class Weights:
    """Files of one repository at one revision. `bytes_total` is what is fetched, all files together."""

    repository: str
    revision: str
    files: tuple[str, ...]
    bytes_total: int


@dataclass(frozen=True)
class PreprocessorFacts:
    """`version` counts what would change a map of the same picture: it is part of what a map is remembered by."""

    title: str
    line: str
    kind: Kind
    licence: str
    knobs: tuple[Knob, ...] = ()
    weights: tuple[Weights, ...] = field(default=())
    version: int = 1

    @property
    def bytes_total(self) -> int:
        return sum(one.bytes_total for one in self.weights)


def _switch(name: str, title: str) -> Knob:
    return Knob(name, title, 0, 1, 0, is_switch=True)


# Networks look at a picture of this short edge; the map has the size of the picture again.
_RESOLUTION = Knob("resolution", "Detail", 256, 1024, 512, step=64)
_SAFE, _SCRIBBLE = _switch("safe", "Fewer shades"), _switch("scribble", "As a scribble")
_REVISION = "982e7edaec38759d914a963c48c4726685de7d96"
_DEPTH_REVISION = "5426e4f0f36572d16453bbda7a8389317b1bef99"


def _annotators(megabytes: float, *files: str) -> tuple[Weights, ...]:
    return (Weights("lllyasviel/Annotators", _REVISION, files, int(megabytes * 1e6)),)


PREPROCESSORS: dict[str, PreprocessorFacts] = {
    "canny": PreprocessorFacts(
        "Canny edges", "Thin white lines where brightness jumps.", "edges", "Apache-2.0",
        (Knob("low", "Weak edges from", 0, 255, 100), Knob("high", "Strong edges from", 0, 255, 200)),
    ),
    "lineart_standard": PreprocessorFacts(
        "Line art, plain", "Soft white lines on black, from the picture's own shading.", "lines", "Apache-2.0",
        (Knob("sigma", "Thickness", 0.5, 20, 6, step=0.5), Knob("threshold", "Ignore below", 0, 64, 8)),
    ),
    "shuffle": PreprocessorFacts(
        "Shuffle", "The picture's colours, swirled: gives its mood and none of its shapes.", "shuffle", "Apache-2.0",
        (Knob("seed", "Seed", 0, 2**32 - 1, 0),),
    ),
    "depth": PreprocessorFacts(
        "Depth, small", "Near is white, far is black. Small and bundled: knows the starter's kind of pictures.", "depth", "Apache-2.0"
    ),
    "depth_anything": PreprocessorFacts(
        "Depth (Depth Anything V2)", "Near is white, far is black. The best first choice for depth.", "depth", "Apache-2.0", (),
        (Weights("depth-anything/Depth-Anything-V2-Small-hf", _DEPTH_REVISION, ("config.json", "preprocessor_config.json", "model.safetensors"), 99_175_200),),
    ),
    "hed": PreprocessorFacts(
        "Soft edges (HED)", "Soft outlines that keep what matters and drop texture.", "edges", "Apache-2.0",
        (_RESOLUTION, _SAFE, _SCRIBBLE), _annotators(29.4, "ControlNetHED.pth"),
    ),
    "pidinet": PreprocessorFacts(
        "Soft edges (PidiNet)", "Like HED with fewer stray lines.", "edges", "research only",
        (_RESOLUTION, _SAFE, _SCRIBBLE), _annotators(2.9, "table5_pidinet.pth"),
    ),
    "lineart": PreprocessorFacts(
        "Line art", "A clean drawing of the picture.", "lines", "MIT",
        (_RESOLUTION, _switch("coarse", "Coarse")), _annotators(34.4, "sk_model.pth", "sk_model2.pth"),
    ),
    "lineart_anime": PreprocessorFacts(
        "Line art, anime", "The drawing under an anime picture.", "lines", "MIT", (_RESOLUTION,), _annotators(217.7, "netG.pth"),
    ),
    "mlsd": PreprocessorFacts(
        "Straight lines (M-LSD)", "Only straight lines: for rooms and buildings.", "lines", "Apache-2.0",
        (_RESOLUTION, Knob("score", "Ignore below", 0.01, 2, 0.1, step=0.01), Knob("distance", "Shortest line", 0.01, 20, 0.1, step=0.01)),
        _annotators(6.3, "mlsd_large_512_fp32.pth"),
    ),
    "openpose": PreprocessorFacts(
        "Pose (OpenPose)", "Skeletons of the people in the picture.", "pose", "non-commercial (CMU)",
        (_RESOLUTION, _switch("hands", "Hands"), _switch("face", "Face")),
        _annotators(510.0, "body_pose_model.pth", "hand_pose_model.pth", "facenet.pth"),
    ),
    "normalbae": PreprocessorFacts(
        "Normals (NormalBae)", "Which way every surface faces, as colours.", "normals", "MIT", (_RESOLUTION,), _annotators(291.0, "scannet.pt"),
    ),
    "midas": PreprocessorFacts(
        "Depth (MiDaS)", "Near is white, far is black.", "depth", "MIT", (_RESOLUTION,), _annotators(492.8, "dpt_hybrid-midas-501f0c75.pt"),
    ),
    "zoe": PreprocessorFacts(
        "Depth (ZoeDepth)", "Depth in true proportions.", "depth", "MIT", (_RESOLUTION,), _annotators(1443.0, "ZoeD_M12_N.pt"),
    ),
    "leres": PreprocessorFacts(
        "Depth (LeReS)", "Depth with much detail in the background.", "depth", "non-commercial (AdelaiDepth)",
        (_RESOLUTION, Knob("near", "Cut near, %", 0, 100, 0), Knob("far", "Cut far, %", 0, 100, 0)),
        _annotators(849.0, "res101.pth", "latest_net_G.pth"),
    ),
    "sam": PreprocessorFacts(
        "Segments (SAM)", "A patch of colour for every thing.", "segments", "Apache-2.0", (_RESOLUTION, Knob("seed", "Colours", 0, 2**32 - 1, 0)),
        (Weights("ybelkada/segment-anything", "7790786db131bcdc639f24a915d9f2c331d843ee", ("checkpoints/sam_vit_h_4b8939.pth",), 2_564_550_879),),
    ),
}  # fmt: skip
