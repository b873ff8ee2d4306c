"""A small English grammar of a few hundred words that generates random sentences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def _listed(text: str, separator: str | None = None) -> list[str]:
    return [item.strip() for item in text.strip().split(separator)]


NAMES = _listed(
    """
    Adam Alice Amir Anna Beth Boris Carla Clara Daniel Diana Edgar Elena Farid Fiona Georgia Hannah Henry Ingrid Isaac
    Jonas Julia Karim Laura Leon Lucy Marco Maya Nadia Nina Oscar Paula Peter Ravi Rosa Samuel Sonia Theo Vera Walter
    Yusuf Zoe
    """
)

PEOPLE = _listed(
    """
    actor architect artist astronomer baker banker barber beekeeper bookseller builder butcher captain carpenter
    chemist clerk cook cousin dancer dentist doctor driver editor engineer farmer fisherman gardener glazier guard
    guide historian hunter inspector janitor jeweller journalist judge lawyer librarian locksmith mayor mechanic
    merchant midwife miller miner minister musician neighbour nurse painter pharmacist photographer pilot plumber poet
    porter postman potter printer professor sailor sculptor secretary shepherd singer soldier surgeon tailor teacher
    thief tourist waiter watchmaker weaver writer zoologist
    """
)

THINGS = _listed(
    """
    apple anchor atlas axe bag ball banjo barrel basket bell bicycle blanket boat book bottle box bracelet bread
    bridge broom bucket cabinet cake camera candle carpet cart chain chair cheese clock coat coin comb compass crown
    cup curtain desk diary dictionary door dress drum engine envelope fence fiddle flag flute fork fountain garden
    gate glove guitar hammer hat helmet jacket jar key kettle knife ladder lamp lantern letter lock magazine map mask
    medal mirror motor mug needle newspaper notebook onion orange oven package painting paper parcel pear pencil phone
    piano picture pillow pipe plate pocket poem pot purse puzzle radio ribbon ring rocket roof rope saddle sandwich
    scarf shelf shirt shoe shovel sofa spoon stamp statue stone suitcase sweater table telescope tent ticket towel toy
    trumpet umbrella vase violin wagon wallet watch wheel whistle window yacht
    """
)

QUALITIES = _listed(
    """
    ancient awkward beautiful bitter black blue brave bright broken brown busy calm careful cheap clean clever cold
    curious dark deep dirty dry dusty early empty enormous expensive faded famous fancy fast flat foreign fragile
    fresh friendly funny gentle golden green grey happy heavy hidden hollow honest huge hungry icy jolly kind large
    late lazy light little lonely loud lovely lucky modern muddy mysterious narrow nervous new noisy odd old orange
    pale plain polite poor precious proud purple quick quiet rare red rich rough round rusty sad serious shallow sharp
    shiny short shy silent silver simple slow small smooth soft square steep strange striped strong tall tender thick
    thin tiny tired ugly unusual useful warm weak wet white wide wild wise wooden yellow young
    """
)

NUMBERS = _listed(
    """
    two three four five six seven eight nine eleven twelve thirteen fifteen twenty thirty forty sixty eighty ninety
    """
)

PLACES = _listed(
    """
    above the bakery | across the valley | along the canal | around the corner | at the airport | at the market |
    at the museum | behind the barn | behind the theatre | below the lighthouse | beside the river |
    between two villages | by the old mill | close to the border | down at the docks | from the attic |
    in a crowded train | in the cellar | in the desert | in the forest | in the kitchen | in the laboratory |
    inside the castle | near the cathedral | near the fountain | next to the bank | off the coast | on a quiet island |
    on the balcony | on the upper deck | opposite the station | outside the city | over the hills | past the hospital |
    through the tunnel | under the bridge | under the stairs | up in the mountains | within the walls |
    without any help
    """,
    "|",
)

TIMES = _listed(
    """
    after a long winter | after dinner | after the concert | all afternoon | at dawn | at midnight |
    at the very last moment | before breakfast | before the storm | during the holidays | during the war |
    every second Thursday | in early autumn | in the evening | in the middle of May | just before noon | last Saturday |
    late at night | many years ago | on Monday morning | on a rainy Sunday | once again | one summer | only yesterday |
    since last February | so many times | ten minutes ago | the following week | this morning | three days later |
    twice a year | within half an hour
    """,
    "|",
)

# base form and past
ACTIONS = [
    tuple(pair.split("/"))
    for pair in _listed(
        """
    admire/admired answer/answered borrow/borrowed break/broke bring/brought build/built bury/buried buy/bought
    carry/carried catch/caught change/changed choose/chose clean/cleaned collect/collected copy/copied count/counted
    cover/covered describe/described discover/discovered draw/drew drop/dropped examine/examined find/found
    finish/finished fix/fixed follow/followed forget/forgot guard/guarded hide/hid hold/held ignore/ignored
    improve/improved inspect/inspected invent/invented keep/kept lend/lent lift/lifted lose/lost measure/measured
    mend/mended move/moved notice/noticed offer/offered open/opened order/ordered paint/painted
    photograph/photographed polish/polished pull/pulled push/pushed recognise/recognised remember/remembered
    repair/repaired replace/replaced return/returned save/saved see/saw sell/sold send/sent share/shared show/showed
    sketch/sketched steal/stole study/studied throw/threw touch/touched trade/traded unlock/unlocked wash/washed
    watch/watched wrap/wrapped
    """
    )
]


def _article(phrase: str) -> str:
    vowel = phrase[0] in "aeiou" and not phrase.startswith("useful")
    return f"an {phrase}" if vowel or phrase.startswith("honest") else f"a {phrase}"


def _plural(noun: str) -> str:
    if noun in ("knife", "thief", "shelf"):
        return noun.rstrip("fe") + "ves"
    if noun in ("fisherman", "postman"):
        return noun[:-2] + "en"
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    return noun[:-1] + "ies" if noun[-1] == "y" and noun[-2] not in "aeiou" else noun + "s"


def sentence(rng: np.random.Generator) -> str:
    """One sentence of about eight to sixteen words (three to five seconds of speech)."""

    def one(words: list[str]) -> str:
        return words[rng.integers(len(words))]

    person, other = one(PEOPLE), one(PEOPLE)
    thing, second = one(THINGS), one(THINGS)
    quality, colour = one(QUALITIES), one(QUALITIES)
    base, past = ACTIONS[rng.integers(len(ACTIONS))]
    place, time, name, number = one(PLACES), one(TIMES), one(NAMES), one(NUMBERS)
    forms: list[Callable[[], str]] = [
        lambda: f"The {quality} {person} {past} {_article(f'{colour} {thing}')} {place} {time}.",
        lambda: f"{time}, {name} {past} {number} {quality} {_plural(thing)} {place}.",
        lambda: f"Did the {person} really {base} the {quality} {thing} {place} {time}?",
        lambda: f"{name} said that the {thing} {place} was {quality}, but not {colour}.",
        lambda: f"{number} {_plural(person)} {past} the {thing}, and {name} kept the {quality} {second}.",
        lambda: f"Nobody {place} could {base} {_article(f'{quality} {thing}')} without the {other}.",
        lambda: f"{name} and the {person} {past} every {thing} and every {second} {place}.",
        lambda: f"If you {base} the {quality} {thing}, the {person} will wait {place} {time}.",
        lambda: f"{_article(f'{quality} {person}')} from the north {past} {name}'s {colour} {thing} {time}.",
    ]
    text = forms[rng.integers(len(forms))]()
    return text[0].upper() + text[1:]


def sentences(rng: np.random.Generator, count: int) -> list[str]:
    """`count` distinct sentences."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[sentence(rng)] = None
    return list(found)
