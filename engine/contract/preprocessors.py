"""What turns a picture into a control map: one row each. Facts only; what runs them is engine/diffusion/preprocessors.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.contract.hub import HubFile

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
class PreprocessorFacts:
    """`version` counts what would change a map of the same picture: it is part of what a map is remembered by.

    `licence` is that of the weights, as their authors state it. Where no statement of theirs was seen, it says so.
    """

    title: str
    line: str
    kind: Kind
    licence: str
    knobs: tuple[Knob, ...] = ()
    weights: tuple[HubFile, ...] = ()
    version: int = 1

    @property
    def bytes_total(self) -> int:
        return sum(one.size_bytes for one in self.weights)


def _switch(name: str, title: str) -> Knob:
    return Knob(name, title, 0, 1, 0, is_switch=True)


# Networks look at a picture of this short edge; the map has the size of the picture again.
_RESOLUTION = Knob("resolution", "Detail", 256, 1024, 512, step=64)
_SAFE, _SCRIBBLE = _switch("safe", "Fewer shades"), _switch("scribble", "As a scribble")
_NOT_SEEN = "no statement of its authors seen"
# Commits, sizes and hashes are those that the hub's own pages show for these files.
_ANNOTATORS = ("lllyasviel/Annotators", "982e7edaec38759d914a963c48c4726685de7d96")
_DEPTH = ("depth-anything/Depth-Anything-V2-Small-hf", "5426e4f0f36572d16453bbda7a8389317b1bef99")
_SAM = ("ybelkada/segment-anything", "7790786db131bcdc639f24a915d9f2c331d843ee")
_FILES = {
    "ControlNetHED.pth": (29_444_406, "5ca93762ffd68a29fee1af9d495bf6aab80ae86f08905fb35472a083a4c7a8fa"),
    "table5_pidinet.pth": (2_871_148, "80860ac267258b5f27486e0ef152a211d0b08120f62aeb185a050acc30da486c"),
    "sk_model.pth": (17_173_511, "c686ced2a666b4850b4bb6ccf0748031c3eda9f822de73a34b8979970d90f0c6"),
    "sk_model2.pth": (17_173_511, "30a534781061f34e83bb9406b4335da4ff2616c95d22a585c1245aa8363e74e0"),
    "netG.pth": (217_631_959, "ccabdcc3f5cf3c07cf65d58776acb21df7dfda825cdc70c9766a93fd62bfc488"),
    "mlsd_large_512_fp32.pth": (6_341_481, "5696f168eb2c30d4374bbfd45436f7415bb4d88da29bea97eea0101520fba082"),
    "body_pose_model.pth": (209_267_595, "25a948c16078b0f08e236bda51a385d855ef4c153598947c28c0d47ed94bb746"),
    "hand_pose_model.pth": (147_341_049, "b76b00d1750901abd07b9f9d8c98cc3385b8fe834a26d4b4f0aad439e75fc600"),
    "facenet.pth": (153_718_792, "8beb52e548624ffcc4aed12af7aee7dcbfaeea420c75609fee999fe7add79d43"),
    "scannet.pt": (290_767_728, "03dbf1600c51ee3d45c29f77b77bf1a3b7a24c3452dba62a4ae658f37330c209"),
    "dpt_hybrid-midas-501f0c75.pt": (492_757_791, "501f0c75b3bca7daec6b3682c5054c09b366765aef6fa3a09d03a5cb4b230853"),
    "ZoeD_M12_N.pt": (1_443_406_099, "c97f94c4d53c5b788af46c5da0462262aebb37ea116fd70014bcbba93146c33b"),
    "res101.pth": (530_760_553, "1d696b2ef3e8336b057d0c15bc82d2fecef821bfebe5ef9d7671a5ec5dde520b"),
    "latest_net_G.pth": (318_268_048, "50ec735d74ed6499562d898f41b49343e521808b8dae589aa3c2f5c9ac9f7462"),
    "config.json": (950, "c56698d3643dde1f83ea2212759e6b31a22b8f827246a36dd007ee8a22b3ff75"),
    "preprocessor_config.json": (775, "d41175c0d889477ca8fc67191e540faef14baf6275157b3fdecf78469e6bbf84"),
    "model.safetensors": (99_173_660, "3152477ce0d8d6978d76b995120de97cb5b928701fd0f817769f59e249a16b70"),
    "checkpoints/sam_vit_h_4b8939.pth": (2_564_550_879, "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
}


def _weights(source: tuple[str, str], *names: str) -> tuple[HubFile, ...]:
    return tuple(HubFile(*source, name, *_FILES[name]) for name in names)


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
        _weights(_DEPTH, "config.json", "preprocessor_config.json", "model.safetensors"),
    ),
    "hed": PreprocessorFacts(
        "Soft edges (HED)", "Soft outlines that keep what matters and drop texture.", "edges", "Apache-2.0",
        (_RESOLUTION, _SAFE, _SCRIBBLE), _weights(_ANNOTATORS, "ControlNetHED.pth"),
    ),
    "pidinet": PreprocessorFacts(
        "Soft edges (PidiNet)", "Like HED with fewer stray lines.", "edges", f"research only ({_NOT_SEEN})",
        (_RESOLUTION, _SAFE, _SCRIBBLE), _weights(_ANNOTATORS, "table5_pidinet.pth"),
    ),
    "lineart": PreprocessorFacts(
        "Line art", "A clean drawing of the picture.", "lines", "MIT",
        (_RESOLUTION, _switch("coarse", "Coarse")), _weights(_ANNOTATORS, "sk_model.pth", "sk_model2.pth"),
    ),
    "lineart_anime": PreprocessorFacts(
        "Line art, anime", "The drawing under an anime picture.", "lines", f"MIT ({_NOT_SEEN})", (_RESOLUTION,), _weights(_ANNOTATORS, "netG.pth"),
    ),
    "mlsd": PreprocessorFacts(
        "Straight lines (M-LSD)", "Only straight lines: for rooms and buildings.", "lines", "Apache-2.0",
        (_RESOLUTION, Knob("score", "Ignore below", 0.01, 2, 0.1, step=0.01), Knob("distance", "Shortest line", 0.01, 20, 0.1, step=0.01)),
        _weights(_ANNOTATORS, "mlsd_large_512_fp32.pth"),
    ),
    "openpose": PreprocessorFacts(
        "Pose (OpenPose)", "Skeletons of the people in the picture.", "pose", "non-commercial research (CMU)",
        (_RESOLUTION, _switch("hands", "Hands"), _switch("face", "Face")),
        _weights(_ANNOTATORS, "body_pose_model.pth", "hand_pose_model.pth", "facenet.pth"),
    ),
    "normalbae": PreprocessorFacts(
        "Normals (NormalBae)", "Which way every surface faces, as colours.", "normals", "MIT", (_RESOLUTION,), _weights(_ANNOTATORS, "scannet.pt"),
    ),
    "midas": PreprocessorFacts(
        "Depth (MiDaS)", "Near is white, far is black.", "depth", "MIT", (_RESOLUTION,), _weights(_ANNOTATORS, "dpt_hybrid-midas-501f0c75.pt"),
    ),
    "zoe": PreprocessorFacts(
        "Depth (ZoeDepth)", "Depth in true proportions.", "depth", "MIT", (_RESOLUTION,), _weights(_ANNOTATORS, "ZoeD_M12_N.pt"),
    ),
    "leres": PreprocessorFacts(
        "Depth (LeReS)", "Depth with much detail in the background.", "depth", "academic use only",
        (_RESOLUTION, Knob("near", "Cut near, %", 0, 100, 0), Knob("far", "Cut far, %", 0, 100, 0)),
        _weights(_ANNOTATORS, "res101.pth", "latest_net_G.pth"),
    ),
    "sam": PreprocessorFacts(
        "Segments (SAM)", "A patch of colour for every thing.", "segments", "Apache-2.0", (_RESOLUTION, Knob("seed", "Colours", 0, 2**32 - 1, 0)),
        _weights(_SAM, "checkpoints/sam_vit_h_4b8939.pth"),
    ),
}  # fmt: skip
