"""The words of the English tales; `write_tales.py` says how [..|..] and {..} grow.

In a plot {H} is the hero, {F} the friend and {G} a guest; {kind}, {fkind}, {gkind} are their animals.
"""

import re


def animal(name, pronoun, kind, home, loves):
    return {"name": name, "pronoun": pronoun, "kind": kind, "home": home, "loves": loves}


CAST = [
    animal("Pip", "he", "mouse", "in an old blue teapot", "cheese"),
    animal("Lulu", "she", "rabbit", "under the green hill", "carrots"),
    animal("Bruno", "he", "bear", "in a cave by the river", "berries"),
    animal("Nell", "she", "hedgehog", "under a pile of leaves", "apples"),
    animal("Otto", "he", "otter", "in a hut by the river", "plums"),
    animal("Ada", "she", "owl", "at the top of a tall tree", "nuts"),
    animal("Gus", "he", "goat", "at the top of the hill", "pears"),
    animal("Dot", "she", "duck", "in a basket by the pond", "bread"),
]

PRONOUNS = {"he": ("he", "his", "him"), "she": ("she", "her", "her")}


def roles(hero, friend, guest):
    """{H} {he} {his} {him} {kind} {home} {loves} of the hero; with f or g before them, of the others."""
    facts = {"H": hero["name"], "F": friend["name"], "G": guest["name"]}
    for prefix, who in (("", hero), ("f", friend), ("g", guest)):
        for key, word in zip(("he", "his", "him"), PRONOUNS[who["pronoun"]], strict=True):
            facts[prefix + key] = word
            facts[prefix + key.capitalize()] = word.capitalize()
        for key in ("kind", "home", "loves"):
            facts[prefix + key] = who[key]
    facts["Home"] = hero["home"].capitalize()
    return facts


def polish(text):
    """a -> an where a vowel follows. No word here is like "hour" or "unicorn", where spelling misleads."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


PHRASES = {
    "intro": "[Once there was a little {kind} called {H} who lived {home}."
    "|There was a little {kind} called {H}. {He} lived {home}."
    "|{Home} lived a little {kind} called {H}.]",
    "day": "[One morning|One day]",
    "oh": "[Oh dear|Oh no]",
    "night": "[That night they slept very well.|And {H} was happy.|And they were friends for ever.]",
    "close": "[It was a very good day.|That night {H} slept very well.|And {H} was happy."
    "|And they were friends for ever.]",
}

COLORS = ["red", "blue", "green", "yellow", "little"]
THINGS = ["kite", "drum", "bell", "boat", "ball", "lamp", "book"]
CLOTHES = ["hat", "scarf", "blanket", "basket"]
PLACES = [
    "under the bed",
    "behind the door",
    "in the garden",
    "by the pond",
    "under the old oak",
    "in the long grass",
    "behind the big stone",
    "under the bridge",
]
SURPRISES = [
    "a sleepy snail",
    "an old shoe",
    "a cold potato",
    "a very small spider",
    "a worm with a book",
    "an ant in a very big hat",
    "a hole with nothing in it",
    "a snail with no house",
]


def skill(name, fail, worse, tip, win, not_for=()):
    return {"skill": name, "fail": fail, "worse": worse, "tip": tip, "win": win, "not_for": not_for}


SKILLS = [
    skill(
        "swim",
        "{He} sank like a stone.",
        "{He} swam round and round in a circle.",
        "Do not be afraid of the water",
        "{He} swam all the way across the pond.",
        ("duck", "otter"),
    ),
    skill(
        "sing",
        "The song was like an old door.",
        "The moon went behind a cloud.",
        "Sing to the moon",
        "The song was so good that the moon came back.",
    ),
    skill(
        "dance",
        "{He} fell over a stone.",
        "{He} fell into the pond.",
        "Do not look down",
        "{He} danced until the stars came out.",
    ),
    skill(
        "bake bread",
        "The bread was as hard as a stone.",
        "The bread was as black as the night.",
        "Wait a little more",
        "The bread was warm and good.",
    ),
    skill(
        "fly a kite",
        "The kite fell into the pond.",
        "The kite sat in a tree.",
        "Wait for the wind",
        "The kite flew up and up, over the hill.",
    ),
    skill(
        "count to five",
        '"One, two, five," said {H}.',
        '"One, three, five," said {H}.',
        "Count your friends",
        '"One, two, three, four, five," said {H}.',
    ),
]

NOISES = [{"Noise": word.capitalize(), "noise": word} for word in ("bump", "tap", "knock")]
MONSTERS = ["dragon", "giant", "ghost", "lion"]
REASONS = [
    "I cannot sleep",
    "I am afraid of the dark",
    "I made too much soup",
    "I wanted to say good night",
    "My bed is too cold",
]
FOODS = ["apple pie", "plum pie", "pear pie", "honey cake", "carrot cake"]
TREATS = ["some tea", "some milk", "some honey", "some bread", "some cheese"]


FIRST_ADVICE = [
    {"say": "Count the stars", "did": "counted the stars"},
    {"say": "Think of the sea", "did": "thought of the sea"},
    {"say": "Sing a little song", "did": "sang a little song"},
]
MORE_ADVICE = [
    {"say_more": "Drink some warm milk", "did_more": "drank some warm milk"},
    {"say_more": "Hug your blanket", "did_more": "hugged the blanket"},
    {"say_more": "Close one eye and then the other", "did_more": "closed one eye and then the other"},
]


def work(name, tries, stuff, win, last):
    return {"work": name, "tries": tries, "stuff": stuff, "win": win, "last": last}


WORKS = [
    work(
        "boat",
        "First they made a boat of paper, but it sank. Then they made a boat of bread, but the fish ate it.",
        "wood",
        "The boat danced on the water.",
        '"Where will we go?" said {F}. "To the sea," said {H}, "and home for tea."',
    ),
    work(
        "house",
        "First they made a house of leaves, but the wind took it. Then they made a house of snow, but the sun took it.",
        "stone",
        "Then the wind came back, but the house was not afraid.",
        '"It is very small," said {H}. "It is big enough for two," said {F}.',
    ),
    work(
        "kite",
        "First they made a kite of wood, but it fell down. Then they made a kite of bread, but it was too big.",
        "paper",
        "The kite flew up to the clouds.",
        '"What can it see?" said {F}. "It can see us," said {H}, "and we look very small."',
    ),
]


def plant(name, size, use):
    return {"plant": name, "size": size, "use": use}


PLANTS = [
    plant("pumpkin", "as big as a house", "And they all had soup until the winter."),
    plant("sunflower", "as tall as a house", "And they all sat under it and had tea."),
    plant("pear tree", "as tall as the hill", "And they all climbed up to look at the moon."),
]


def fear(of, calm, trouble, help_, deed):
    return {"fear": of, "calm": calm, "trouble": trouble, "help": help_, "deed": deed}


FEARS = [
    fear(
        "the dark",
        "the rain",
        "One night {F} the {fkind} was lost in the dark wood.",
        "I cannot find the way",
        "So {H} took a lamp and walked into the dark wood.",
    ),
    fear(
        "the storm",
        "the dark",
        "One day there was a big storm, and {F} the {fkind} was out on the hill.",
        "I want to go home",
        "So {H} took a lamp and walked into the storm.",
    ),
    fear(
        "the old bridge",
        "the storm",
        "One day {F} the {fkind} fell down by the old bridge.",
        "I cannot get up",
        "So {H} counted to three and walked over the old bridge.",
    ),
]

WHITE = ["milk", "salt", "sugar"]
NOSES = ["carrot", "potato", "pear"]

LOST = [
    "{intro} {He} had a {color} {thing} and loved it [very much|more than cake]. {day} the {thing} was gone.",
    "First {H} looked for the {thing} {a}. There was only {x}. "
    "Then {H} looked for the {thing} {b}. There was only {y}. "
    '"{oh}," said {H}. "Where is my {thing}?"',
]

PLOTS = [
    {
        "draws": {"color": COLORS, "thing": THINGS, "a, b, c": PLACES, "x, y": SURPRISES},
        "lines": [
            "The tale of {H} and the {thing}",
            *LOST,
            'Then {F} the {fkind} came by. ["I saw your {thing} {c}," said {F}. So {H} looked {c}, '
            'and there was the {thing}!|"Your {thing} was broken," said {F}, "so I mended it." '
            "And there was the {thing}, as good as new!] "
            '"Thank you, {F}," said {H}. {close}',
        ],
    },
    {
        "draws": {"color": COLORS, "thing": CLOTHES, "a, b": PLACES, "x, y": SURPRISES},
        "lines": [
            "The tale of {H} and the {thing}",
            *LOST,
            'Then {F} the {fkind} came by. "Your {thing} is on your head," said {F}. '
            "And there was the {thing}! So {H} laughed, and {F} laughed too. {close}",
        ],
    },
    {
        "draws": {"skill": SKILLS},
        "lines": [
            "How {H} learned to {skill}",
            '{intro} {day} {H} wanted to {skill}. "It cannot be hard," said {H}.',
            "So {H} tried to {skill}. {fail} Then {H} tried to {skill} again. {worse} "
            '"{oh}," said {H}. "I cannot {skill}."',
            'Then {F} the {fkind} came by. "{tip}," said {F}. "Try once more." So {H} tried to {skill} once more. '
            '{win} "I can {skill}!" said {H}. {close}',
        ],
    },
    {
        "draws": {},
        "lines": [
            "A gift for {F}",
            "{intro} {day} it was the birthday of {F} the {fkind}. "
            '"My friend {F} loves {floves}," said {H}. So {H} took a basket of {floves} and went to see {F}.',
            'On the way {H} met {G} the {gkind}. "I am so hungry," said {G}. So {H} gave {G} some {floves}. '
            "Then {H} fell over a stone, and the rest of the {floves} fell into the river.",
            '"Happy birthday, {F}," said {H}. "I had {floves} for you, but my basket is empty." '
            'And {F} hugged {H}. "You came to see me," said {F}. "That is the best gift of all." {close}',
        ],
    },
    {
        "draws": {"noise": NOISES, "monster": MONSTERS, "reason": REASONS},
        "lines": [
            "The tale of {H} and the noise in the night",
            "{intro} One [dark|cold] night {H} was in bed. {Noise}, {noise}, {noise}! There was a noise at the door.",
            '"It is a {monster}," said {H}, and hid under the blanket. {Noise}, {noise}, {noise}! '
            '"It is a very big {monster}," said {H}. But {H} took a lamp and opened the door.',
            'It was not a {monster}. It was {F} the {fkind}! "{reason}," said {F}. "Come in, {F}," said {H}. '
            "[And they had hot soup by the fire.|And they had hot tea by the fire.] {night}",
        ],
    },
    {
        "draws": {"food": FOODS, "t, u": TREATS},
        "lines": [
            "The tale of {H} and the big {food}",
            '{intro} {day} {H} made a big {food}. "This is all for me," said {H}.',
            'Knock, knock! It was {F} the {fkind}. "I am so hungry," said {F}. So {H} gave {F} some {food}. '
            'Knock, knock! It was {G} the {gkind}. "I am hungry too," said {G}. '
            "So {H} gave {G} some {food} too.",
            'Soon the {food} was gone. "{oh}," said {H}. But {F} had {t}, and {G} had {u}. '
            'They ate and laughed until the moon came up. "It is better with friends," said {H}. {close}',
        ],
    },
    {
        "draws": {"first": FIRST_ADVICE, "second": MORE_ADVICE},
        "lines": [
            "How {H} could not sleep",
            "{intro} One night {H} could not sleep. [The moon was too bright.|The wind was too loud."
            "|The bed was too cold.] So {H} went to see {F} the {fkind}.",
            '"I cannot sleep," said {H}. "{say}," said {F}. So {H} {did}. But {H} could not sleep. '
            '"{say_more}," said {F}. So {H} {did_more}. But {H} could not sleep.',
            '"I will tell you a story," said {F}. It was a long story about [a fish|a king|a shoe]. '
            "[Soon {H} was fast asleep.|Soon {F} was fast asleep. So {H} gave {F} a blanket "
            "and fell asleep too.] Good night, {H}. Good night, {F}.",
        ],
    },
    {
        "draws": {"work": WORKS},
        "lines": [
            "How {H} and {F} made a {work}",
            "{intro} {day} {H} wanted to make a {work}. So {H} went to see {F} the {fkind}. "
            '"I will help you," said {F}.',
            '{tries} "{oh}," said {H}. "Our {work} is gone."',
            '"Try once more," said {F}. So {H} and {F} made a {work} of {stuff}. {win} {last} {close}',
        ],
    },
    {
        "draws": {"a, b, c": PLACES, "x, y": SURPRISES},
        "lines": [
            "How {H} and {F} played hide and seek",
            "{intro} {day} {H} played hide and seek with {F} the {fkind}. So {H} counted to five, and {F} hid {c}.",
            "First {H} looked for {F} {a}. There was only {x}. "
            "Then {H} looked for {F} {b}. There was only {y}. "
            '"{oh}," said {H}. "Where is {F}?"',
            'Then {H} looked {c}, and there was {F}! ["I found you," said {H}. "Now I will look for you," '
            "said {F}.|But {F} was fast asleep. So {H} sat down next to {F} and fell asleep too.] {close}",
        ],
    },
    {
        "draws": {"white": WHITE, "nose": NOSES, "color": COLORS, "thing": ["hat", "scarf"]},
        "lines": [
            "The tale of {H} and the snowman",
            '{intro} One morning everything was white. "{oh}," said {H}. "Who spilled the {white}?" '
            "So {H} went to see {F} the {fkind}.",
            '"It is not {white}," said {F}. "It is snow!" So {H} and {F} made a snowman with a {nose} '
            "for a nose and gave him a {color} {thing}.",
            "Then the sun came out, and the snowman was gone. There was only a {nose} and a {color} {thing}. "
            '"Where is he?" said {H}. "[He went home|He went to the sea]," said {F}. '
            '"He will come back in the winter." {close}',
        ],
    },
    {
        "draws": {"plant": PLANTS},
        "lines": [
            "The tale of {H} and the {plant}",
            '{intro} {day} {H} put a {plant} seed in the garden. "Grow," said {H}. But no {plant} came up.',
            'Then {F} the {fkind} came by. "Give it water," said {F}. So {H} gave it water. '
            'But no {plant} came up. Then {G} the {gkind} came by. "Sing to it," said {G}. '
            "So {H} sang to it. But no {plant} came up.",
            '"Now we wait," said {F}. They waited and waited. Then up came a {plant}! It was {size}. '
            '"Look at my {plant}," said {H}. {use} {close}',
        ],
    },
    {
        "draws": {"fear": FEARS},
        "lines": [
            "How {H} was brave",
            "{intro} {He} was not afraid of {calm}. But {H} was very afraid of {fear}.",
            '{trouble} "Help!" said {F}. "{help}." And {H} was afraid. But {F} was a friend.',
            '{deed} One step, two steps, three steps. "Here I am, {F}," said {H}. '
            'So {H} and {F} went home. "You are so brave," said {F}. "I was afraid all the time," '
            "said {H}. {night}",
        ],
    },
]
