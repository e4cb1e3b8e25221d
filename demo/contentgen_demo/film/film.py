"""Script of the demo's video, shot by shot: plain values without drawing or speech."""

from dataclasses import dataclass
from enum import StrEnum

Colour = tuple[int, int, int]
"""Red, green, blue; 0-255."""


class FilmScene(StrEnum):
    """Animated background of a shot."""

    RAYS = "rays"
    BUBBLES = "bubbles"
    HILLS = "hills"
    CITY = "city"
    WAVES = "waves"
    DOTS = "dots"
    STRIPES = "stripes"
    RINGS = "rings"
    STARS = "stars"
    CONFETTI = "confetti"


class FilmJoin(StrEnum):
    """Transition at the beginning of a shot."""

    CUT = "cut"
    DISSOLVE = "dissolve"


@dataclass(frozen=True)
class Palette:
    """Colours of a shot."""

    top: Colour
    bottom: Colour
    shape: Colour
    accent: Colour
    suit: Colour


@dataclass(frozen=True)
class FilmShot:
    """One shot: title, spoken sentence and position of the presenter."""

    title: str
    speech: str
    scene: FilmScene
    palette: Palette
    x: float
    """Where the presenter stands, as a share of the width."""
    size: float
    """1 is a head and shoulders; larger is closer."""
    tilt: float
    """Degrees, to the right."""
    join: FilmJoin = FilmJoin.CUT


def _colour(text: str) -> Colour:
    return (int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16))


def _palette(colours: str) -> Palette:
    top, bottom, shape, accent, suit = (_colour(text) for text in colours.split())
    return Palette(top, bottom, shape, accent, suit)


# A detector that sees no dissolve takes two shots for one, and the frame from their middle. So shots that are joined
# by one differ in length, else every such frame would show both.
SHOTS = (
    FilmShot(
        "contentgen",
        "Hello! I am Jesse, and this is content gen.",
        FilmScene.RAYS,
        _palette("ffb347 ff5e62 ffd78a fff3d6 2b2d5b"),
        0.68,
        1.0,
        -3,
    ),
    FilmShot(
        "Videos become models",
        "It turns videos into LoRA models of a person or a style,",
        FilmScene.BUBBLES,
        _palette("0f2027 2c7a7b 4fd1c5 b2f5ea 7b341e"),
        0.70,
        1.25,
        4,
    ),
    FilmShot(
        "Prompts become pictures",
        "prompts into pictures, and recordings into transcripts.",
        FilmScene.HILLS,
        _palette("fbd3e9 bb377d 6a1b5d ffe29a 22543d"),
        0.64,
        0.85,
        2,
    ),
    FilmShot(
        "One manifest",
        "You write a manifest, and apply it. That is all.",
        FilmScene.CITY,
        _palette("141e30 35577d 0b1320 ffd166 5a189a"),
        0.72,
        1.1,
        -2,
    ),
    FilmShot(
        "Prepare",
        "A worker downloads the video, and finds its shots.",
        FilmScene.WAVES,
        _palette("e0f7fa 4dd0e1 00838f ff8a65 37474f"),
        0.66,
        1.45,
        3,
    ),
    FilmShot(
        "Only sharp frames",
        "It keeps a frame of each shot, sharp and different.",
        FilmScene.DOTS,
        _palette("fffbe6 ffe066 f08c00 d9480f 1864ab"),
        0.70,
        0.95,
        -5,
    ),
    FilmShot(
        "Free until here",
        "All of this is free, inside your own cluster.",
        FilmScene.STRIPES,
        _palette("38ef7d 11998e 0c7c72 e9fff3 3d0c4e"),
        0.65,
        1.2,
        1,
    ),
    FilmShot(
        "One paid call",
        "Then comes one paid call. One, even when the operator is killed.",
        FilmScene.RINGS,
        _palette("3a1c71 d76d77 ffaf7b ffe5d0 1b4332"),
        0.70,
        1.0,
        -2,
    ),
    FilmShot(
        "A ledger remembers",
        "A ledger remembers what was bought. Nothing is paid twice.",
        FilmScene.STARS,
        _palette("020617 1e1b4b c7d2fe fef08a 9f1239"),
        0.66,
        1.35,
        5,
        FilmJoin.DISSOLVE,
    ),
    FilmShot(
        "Watch it happen",
        "Progress, stage and cost stand on the resource.",
        FilmScene.CONFETTI,
        _palette("fdfbfb cfd9df 4c6ef5 f03e3e 0b7285"),
        0.72,
        0.9,
        2,
    ),
    FilmShot(
        "Collect",
        "At the end, the files lie in your bucket, with a record in Mongo D B.",
        FilmScene.HILLS,
        _palette("a1c4fd c2e9fb 2f855a f6e05e 742a2a"),
        0.64,
        1.15,
        -4,
    ),
    FilmShot(
        "No keys in a worker",
        "The pods that open your videos hold no keys worth stealing.",
        FilmScene.CITY,
        _palette("ff9a9e fecfef 7f3f5c fff1a8 1a365d"),
        0.70,
        1.4,
        3,
        FilmJoin.DISSOLVE,
    ),
    FilmShot(
        "A sandbox, for free",
        "Today, this is a sandbox. The protocol is real, the bill is not.",
        FilmScene.BUBBLES,
        _palette("f7971e ffd200 e8590c fff9db 364fc7"),
        0.66,
        1.0,
        -3,
    ),
    FilmShot(
        "Your turn",
        "Now it is your turn. Take a video of your own!",
        FilmScene.RAYS,
        _palette("232526 414345 5c6166 ff6b6b 0ca678"),
        0.68,
        1.25,
        0,
    ),
)
