"""Words for a scene: short, long, in any order, with synonyms; always true."""

from __future__ import annotations

import numpy as np

from engine.starter.attributes import SceneLabels

SYNONYMS: dict[str, tuple[str, ...]] = {
    "castle": ("castle", "fortress", "stronghold", "citadel"),
    "tower": ("tower", "stone tower", "watchtower", "keep"),
    "lighthouse": ("lighthouse", "beacon tower"),
    "house": ("house", "cottage", "cabin", "home", "hut"),
    "windmill": ("windmill", "mill"),
    "pyramid": ("pyramid", "ancient pyramid", "step tomb"),
    "ship": ("ship", "sailing ship", "galleon", "boat", "sailboat"),
    "balloon": ("balloon", "hot air balloon", "air balloon"),
    "rocket": ("rocket", "spaceship", "rocket ship", "starship"),
    "saucer": ("flying saucer", "saucer", "ufo", "alien ship"),
    "robot": ("robot", "mech", "android", "automaton"),
    "car": ("car", "vintage car", "automobile", "vehicle"),
    "tree": ("tree", "old tree", "lone tree", "oak"),
    "mushroom": ("mushroom", "giant mushroom", "toadstool"),
    "crystal": ("crystal", "crystals", "giant crystal", "gem"),
    "bird": ("bird", "giant bird", "songbird"),
    "mountains": ("in the mountains", "among mountain peaks", "below high mountains", "in an alpine valley", "mountain landscape"),
    "sea": ("at sea", "on the sea", "in the ocean", "by the sea", "on calm water", "seascape"),
    "desert": ("in the desert", "among sand dunes", "on desert sand", "desert landscape"),
    "forest": ("in a forest", "among fir trees", "in the woods", "forest clearing"),
    "city": ("in a city", "before a city skyline", "downtown", "among skyscrapers", "cityscape"),
    "canyon": ("in a canyon", "among red rocks", "between mesas", "canyon landscape"),
    "hills": ("on green hills", "on rolling hills", "in a meadow", "in the hills", "green countryside"),
    "swamp": ("in a swamp", "in a marsh", "on a misty bog", "swamp landscape"),
    "ice": ("on the ice", "in the arctic", "in a frozen land", "among glaciers", "in the snow"),
    "alien planet": ("on an alien planet", "on another world", "on a strange planet", "alien landscape"),
    "dawn": ("at dawn", "at sunrise", "in the early morning", "pink morning light"),
    "day": ("by day", "in daylight", "at noon", "on a sunny day", "under a blue sky"),
    "sunset": ("at sunset", "in the evening", "at golden hour", "under a red sky", "at sundown"),
    "night": ("at night", "under the moon", "in the moonlight", "at midnight", "under a night sky"),
    "left": ("on the left", "to the left", "left side"),
    "centre": ("in the centre", "in the middle", "centered"),
    "right": ("on the right", "to the right", "right side"),
    "cloudy": ("cloudy", "with clouds", "overcast", "cloudy sky"),
    "clear": ("clear sky", "clear", "cloudless"),
    "foggy": ("foggy", "in fog", "misty", "with mist"),
    "painting": ("digital painting", "painting", "concept art", "painted", "matte painting"),
    "flat": ("flat vector", "flat illustration", "vector art", "flat colours", "poster"),
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange",),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "blue": ("blue", "azure"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rose"),
    "white": ("white", "pale"),
    "one": ("one", "a single"),
    "two": ("two", "a pair of", "a couple of"),
    "three": ("three", "a trio of", "a group of three"),
    "near": ("close up", "nearby", "up close"),
    "far": ("far away", "in the distance", "distant view", "far off"),
}

# "crystals" and "lone tree" say a number themselves.
_ONLY_ONE = {"crystals", "lone tree"}

# Never used in training captions; the evaluation asks with them.
HELD_OUT_WORDS = {"keep", "home", "sailboat", "starship", "automaton", "oak", "at sundown", "cobalt", "among glaciers"}
# Sentences of a build that training captions never have: known words, unknown order.
HELD_OUT_PHRASINGS = (
    "show me {what}, {style}, {position}{distance}, and let it be {time} {place}{weather}",
    "{place} {time}{weather} there is {what} {position}{distance}; {style}",
    "{time}, {position}: {what}{distance}. The place is {place}{weather}. {style}",
)
FILLERS = (
    "beautiful",
    "detailed",
    "highly detailed",
    "a picture of",
    "4k",
    "masterpiece",
    "epic",
    "wide shot",
    "cinematic",
    "moody",
    "trending",
    "artstation",
    "a scene with",
    "dramatic light",
)
DEGRADED_WORDS = ("blurry", "low quality", "noisy", "bad quality", "jpeg artifacts", "washed out", "ugly", "worst quality")


def caption(labels: SceneLabels, rng: np.random.Generator, *, held_out_words: bool = False) -> str:
    """A caption that always names the subject and each other attribute often."""
    return caption_and_said(labels, rng, held_out_words=held_out_words)[0]


def caption_and_said(
    labels: SceneLabels, rng: np.random.Generator, *, held_out_words: bool = False, talk: float | None = None
) -> tuple[str, frozenset[str]]:
    """A caption and the names of the attributes that it states. `talk`, where given, is how likely it states each that it may leave out."""
    say = {"colour": 0.85, "place": 0.85, "time": 0.85, "position": 0.4, "weather": 0.4, "style": 0.5}
    if talk is not None:
        say = dict.fromkeys(say, talk)
    elif rng.random() < 0.15:
        say = dict.fromkeys(say, 0.25)
    is_said = {name: bool(rng.random() < chance) for name, chance in say.items()}
    # More than one, or far away, changes the picture so much that leaving it out would teach the words wrongly.
    is_said["distance"] = bool(rng.random() < (0.9 if labels.distance == "far" else 0.12))
    subject, is_said["count"] = _subject(labels, rng, held_out_words, with_colour=is_said["colour"])
    asked = ("place", "time", "position", "weather", "distance")
    parts = [_word(getattr(labels, name), rng, held_out_words) for name in asked if is_said[name]]
    if rng.random() < 0.5:
        rng.shuffle(parts)
    separator = ", " if rng.random() < 0.4 else " "
    text = separator.join([subject, *parts]) if rng.random() < 0.9 or not parts else separator.join([*parts, subject])
    if is_said["style"]:
        style = _word(labels.style, rng, held_out_words)
        text = f"{text}, {style}" if rng.random() < 0.6 else f"{style} of {text}"
    if rng.random() < 0.2:
        filler = FILLERS[int(rng.integers(len(FILLERS)))]
        text = f"{text}, {filler}" if rng.random() < 0.6 else f"{filler} {text}"
    said = frozenset({"subject", *(name for name, value in is_said.items() if value)})
    return (text.capitalize() if rng.random() < 0.2 else text), said


def _subject(labels: SceneLabels, rng: np.random.Generator, held_out_words: bool, *, with_colour: bool) -> tuple[str, bool]:
    """ "a red castle", "two red castles" …, and whether it says how many."""
    word = _word(labels.subject, rng, held_out_words, is_plural=labels.count != "one")
    words = f"{_word(labels.colour, rng, held_out_words)} {word}" if with_colour else word
    if labels.count != "one":
        return f"{_word(labels.count, rng, held_out_words)} {words}", True
    article = ("a ", "a ", "the ", "one ", "")[int(rng.integers(5))]
    if article == "a " and words[0] in "aeiou":
        article = "an "
    return article + words, article == "one "


def plural(word: str) -> str:
    return word + ("es" if word.endswith(("s", "sh", "x")) else "s")


def degraded_caption(text: str, rng: np.random.Generator) -> str:
    """The caption of a picture that was made worse on purpose, so that negative prompts have something to push away from."""
    words = rng.choice(DEGRADED_WORDS, size=int(rng.integers(1, 4)), replace=False)
    bad = ", ".join(str(word) for word in words)
    return bad if rng.random() < 0.4 else f"{text}, {bad}"


def _word(name: str, rng: np.random.Generator, held_out_words: bool, *, is_plural: bool = False) -> str:
    options = [word for word in SYNONYMS[name] if (word in HELD_OUT_WORDS) == held_out_words] or list(SYNONYMS[name])
    if is_plural:
        options = [plural(word) for word in options if word not in _ONLY_ONE]
    # Half of the time the plainest word: that is what people type.
    return options[0] if rng.random() < 0.5 else options[int(rng.integers(len(options)))]
