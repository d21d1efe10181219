"""The words of the Chinese tales; `write_tales.py` says how [..|..] and {..} grow.

Names as in `tales_en.py`. The tales keep to a small set of characters on purpose: each takes a place in the
tokenizer's vocabulary, and a reader of six knows them all.
"""


def animal(name, he, kind, home, loves):
    return {"name": name, "he": he, "kind": kind, "home": home, "loves": loves}


CAST = [
    animal("豆豆", "他", "小老鼠", "大树下", "花生"),
    animal("朵朵", "她", "小兔子", "山坡上", "萝卜"),
    animal("乐乐", "他", "小熊", "山洞里", "蜂蜜"),
    animal("咪咪", "她", "小猫", "红房子里", "小鱼"),
    animal("毛毛", "他", "小狗", "小桥边", "苹果饼"),
    animal("丫丫", "她", "小鸭子", "小河边", "南瓜"),
    animal("跳跳", "他", "小猴子", "高高的树上", "桃子"),
    animal("慢慢", "她", "小乌龟", "石头后面", "苹果"),
]


def roles(hero, friend, guest):
    """{H} {he} {kind} {home} {loves} of the hero; with f or g before them, of the friend and the guest."""
    facts = {"H": hero["name"], "F": friend["name"], "G": guest["name"]}
    for prefix, who in (("", hero), ("f", friend), ("g", guest)):
        facts.update({prefix + key: who[key] for key in ("he", "kind", "home", "loves")})
    return facts


def polish(text):
    """Chinese needs no agreement: the text is right as it grew."""
    return text


PHRASES = {
    "intro": "[从前有一只{kind}，名叫{H}，住在{home}。|有一只{kind}，名叫{H}，住在{home}。"
    "|{home}住着一只{kind}，名叫{H}。]",
    "day": "[有一天|一天早上]，",
    "night": "[两个好朋友都笑了。|{H}心里甜甜的。|晚安，{H}。晚安，{F}。]",
    "close": "[两个好朋友都笑了。|这真是快乐的一天。|{H}心里甜甜的。|{H}笑了，{F}也笑了。]",
}

COLORS = ["红", "绿", "黄", "小"]
WHITE = ["牛奶", "糖"]
NOSES = ["萝卜", "花生", "桃子", "苹果"]
MONSTERS = ["大老虎", "大灰狼", "大鱼"]
NOISES = ["咚咚咚", "沙沙沙"]
REASONS = ["我睡不着", "我怕黑", "我怕风", "我的床太冷了", "我想跟你说晚安"]
FOODS = ["苹果饼", "南瓜饼", "花生饼", "萝卜饼", "蜂蜜饼"]
TREATS = ["一碗汤", "一碗牛奶", "一篮桃子", "一篮花生", "一篮小鱼"]
PLACES = ["床下", "门后", "树后", "小河边", "草地上", "山坡上", "小桥下", "石头后面", "房顶上", "山洞里"]
SURPRISES = [
    "一只睡着的虫子",
    "一只看月亮的虫子",
    "一只唱歌的虫子",
    "一只小鞋子",
    "一块饼",
    "一片叶子",
    "一个空空的洞",
]


def thing(count, name):
    """`count`: numeral and measure word, as in 一顶帽子."""
    return {"count": count, "thing": name}


THINGS = [thing("一只", "风筝"), thing("一只", "小船"), thing("一只", "鞋子"), thing("一只", "碗")]
CLOTHES = [thing("一顶", "帽子"), thing("一只", "篮子")]


def skill(name, fail, worse, tip, win, not_for=()):
    return {"skill": name, "fail": fail, "worse": worse, "tip": tip, "win": win, "not_for": not_for}


SKILLS = [
    skill(
        "游泳",
        "{he}喝了好大一碗水。",
        "{he}游来游去，还在河边。",
        "不怕水，看着天",
        "{he}一下子游过了小河。",
        ("小鸭子", "小乌龟"),
    ),
    skill("唱歌", "虫子都飞走了。", "云也走了。", "唱给月亮听", "歌声真好听，星星都出来听。"),
    skill("画画", "太阳像南瓜。", "房子像鞋子。", "画你最喜欢的", "{he}画了{F}，真好看。"),
    skill("放风筝", "风筝掉进了河里。", "风筝睡在了树上。", "等一等，风会来的", "风筝飞到了云上。"),
    skill(
        "数数",
        "“一、二、五。”{H}说。",
        "“一、三、五。”{H}说。",
        "数一数你的好朋友",
        "“一、二、三、四、五！”{H}说。",
    ),
]

FIRST_ADVICE = [
    {"say": "数数星星", "did": "数了数星星"},
    {"say": "想想月亮", "did": "想了想月亮"},
    {"say": "唱首歌", "did": "唱了一首歌"},
]
MORE_ADVICE = [
    {"say_more": "喝碗牛奶", "did_more": "喝了一碗牛奶"},
    {"say_more": "抱着被子", "did_more": "抱着被子"},
    {"say_more": "闭上一只眼睛", "did_more": "闭上了一只眼睛"},
]


def work(make, name, tries, stuff, win, last):
    return {"make": make, "work": name, "tries": tries, "stuff": stuff, "win": win, "last": last}


WORKS = [
    work(
        "做",
        "小船",
        "先用草做小船，小船掉进了河里。又用饼做小船，小船给鱼吃了。",
        "木头",
        "小船像叶子一样飞快。",
        "“我们去哪里？”{F}说。“去看星星，”{H}说，“再回家喝汤。”",
    ),
    work(
        "盖",
        "房子",
        "先用叶子盖房子，房子飞走了。又用雪盖房子，太阳一出来，房子没有了。",
        "石头",
        "风来了，房子不怕。",
        "“房子真小呀。”{H}说。“住两个好朋友，真好。”{F}说。",
    ),
    work(
        "做",
        "小桥",
        "先用草做小桥，小桥掉进了河里。又用雪做小桥，太阳一出来，小桥没有了。",
        "木头",
        "小桥一直到河那边。",
        "“谁先走？”{F}说。“我们一起走。”{H}说。",
    ),
]


def plant(count, name, size, use):
    return {"count": count, "plant": name, "size": size, "use": use}


PLANTS = [
    plant("一个", "南瓜", "像房子一样大", "大家吃了一个冬天的南瓜饼。"),
    plant("一个", "萝卜", "像小山一样大", "大家吃呀吃，吃也吃不完。"),
    plant("一朵", "黄花", "像房子一样高", "大家坐在花下，像坐在黄房子里。"),
]


def fear(of, calm, trouble, shout, deed, not_for=()):
    return {"fear": of, "calm": calm, "trouble": trouble, "shout": shout, "deed": deed, "not_for": not_for}


FEARS = [
    fear("黑", "雨", "一天晚上，{fkind}{F}还在黑黑的山上。", "我找不到路了", "{H}拿着灯，走上了黑黑的山。"),
    fear("大雨", "黑", "一天晚上下大雨，{fkind}{F}还在山上。", "雨太大了", "{H}拿着灯，走进了大雨里。"),
    fear("过桥", "雨", "有一天，{fkind}{F}在桥那边摔了一跤。", "我起不来了", "{H}看着前面，走过了小桥。"),
    fear("山洞", "大雨", "有一天，{fkind}{F}掉进了山洞里。", "我出不来了", "{H}拿着灯，走进了山洞。", ("小熊",)),
]

LOST = [
    "{intro}{H}有{count}{color}{thing}，[天天带着|很喜欢]。{day}{thing}不见了。",
    "{H}去{a}找{thing}，只有{x}。{H}去{b}找{thing}，只有{y}。“哎呀，”{H}说，“我的{thing}在哪里呢？”",
]

PLOTS = [
    {
        "draws": {"color": COLORS, "thing": THINGS, "a, b, c": PLACES, "x, y": SURPRISES},
        "lines": [
            "{H}找{thing}",
            *LOST,
            "{fkind}{F}走过来。[“给你。”{F}说。{F}拿着{H}的{thing}！"
            "|“{thing}在{c}。”{F}说。{H}去{c}一看，{thing}真的在那里！]“谢谢你，{F}。”{H}说。{close}",
        ],
    },
    {
        "draws": {"color": COLORS, "thing": CLOTHES, "a, b": PLACES, "x, y": SURPRISES},
        "lines": [
            "{H}找{thing}",
            *LOST,
            "{fkind}{F}走过来。“{H}，”{F}笑着说，“{thing}在你头上呢。”{H}一看，{thing}真的在头上！{close}",
        ],
    },
    {
        "draws": {"skill": SKILLS},
        "lines": [
            "{H}学{skill}",
            "{intro}{day}{H}想学{skill}。“我一学就会。”{H}说。",
            "{H}学着{skill}。{fail}{H}又学着{skill}。{worse}“哎呀，”{H}说，“我学不会{skill}。”",
            "{fkind}{F}走过来。“{tip}，”{F}说，“再学一次吧。”{H}又学着{skill}。{win}“我会{skill}了！”{H}说。{close}",
        ],
    },
    {
        "draws": {},
        "lines": [
            "{F}的生日",
            "今天是{fkind}{F}的生日。“{F}最喜欢{floves}。”{kind}{H}说。{H}拿着一篮{floves}去看{F}。",
            "路上，{H}看见了{gkind}{G}。“我好饿呀。”{G}说。{H}给了{G}一些{floves}。"
            "走着走着，{H}摔了一跤，{floves}都掉进了河里。",
            "“生日快乐，{F}。”{H}说，“我带了{floves}，可是篮子空了。”{F}抱着{H}。“你来了，”{F}说，“就是最好的礼物。”{close}",
        ],
    },
    {
        "draws": {"noise": NOISES, "monster": MONSTERS, "reason": REASONS},
        "lines": [
            "{H}和门外的声音",
            "{intro}一天晚上，{H}睡在床上。{noise}！门外有声音。",
            "“是{monster}！”{H}说。{he}躲进了被子里。{noise}！“真的是{monster}！”{H}说。可是{H}还是拿着灯，打开了门。",
            "不是{monster}，是{fkind}{F}。“{reason}。”{F}说。“快进来吧，{F}。”{H}说。"
            "两个好朋友一起喝汤，一起讲故事。{night}",
        ],
    },
    {
        "draws": {"food": FOODS, "t, u": TREATS},
        "lines": [
            "{H}的大{food}",
            "{intro}{day}{H}做了一块大{food}。“这都是我的。”{H}说。",
            "咚咚咚！{fkind}{F}来了。“我好饿呀。”{F}说。{H}给了{F}一些{food}。"
            "咚咚咚！{gkind}{G}来了。“我也好饿呀。”{G}说。{H}也给了{G}一些{food}。",
            "{food}吃完了。可是{F}带来了{t}，{G}带来了{u}。大家一起吃，一起笑，一直到月亮出来。"
            "“跟好朋友一起吃，真好吃。”{H}说。{close}",
        ],
    },
    {
        "draws": {"first": FIRST_ADVICE, "second": MORE_ADVICE},
        "lines": [
            "{H}睡不着",
            "{intro}一天晚上，{H}睡不着。[月亮太亮了|风声太大了|床太冷了]。{H}去找{fkind}{F}。",
            "“我睡不着。”{H}说。“{say}吧。”{F}说。{H}{did}，还是睡不着。"
            "“{say_more}吧。”{F}说。{H}{did_more}，还是睡不着。",
            "“我给你讲个故事吧。”{F}说。故事讲的是[一朵花|一朵云|一只鞋]。故事还没讲完，"
            "[{H}就睡着了。|{F}先睡着了。{H}给{F}盖好被子，也睡着了。]晚安，{H}。晚安，{F}。",
        ],
    },
    {
        "draws": {"work": WORKS},
        "lines": [
            "{H}和{F}{make}{work}",
            "{intro}{day}{H}想{make}{work}。{fkind}{F}走过来。“我们一起{make}{work}吧。”{F}说。",
            "{tries}“哎呀，”{H}说，“我们的{work}没有了。”",
            "“再试一次吧。”{F}说。两个好朋友用{stuff}{make}了{work}。{win}{last}{close}",
        ],
    },
    {
        "draws": {"a, b, c": PLACES, "x, y": SURPRISES},
        "lines": [
            "{H}和{F}捉迷藏",
            "{intro}{day}{H}和{fkind}{F}玩捉迷藏。{H}闭上眼睛，数到五。{F}躲在{c}。",
            "{H}去{a}找{F}，只有{x}。{H}去{b}找{F}，只有{y}。“{F}在哪里呢？”{H}说。",
            "{H}去{c}一看，[{F}就在那里！“找到你了！”{H}说。“我来找你吧。”{F}说。"
            "|{F}睡着了。{H}坐下来，也睡着了。]{close}",
        ],
    },
    {
        "draws": {"white": WHITE, "nose": NOSES, "color": COLORS, "thing": CLOTHES[:2]},
        "lines": [
            "{H}和雪人",
            "{intro}一天早上，门外都白了。“哎呀，”{H}说，“这是谁的{white}？”{H}去找{fkind}{F}。",
            "“不是{white}，”{F}说，“是雪！”{H}和{F}做了一个雪人，用{nose}做鼻子。{H}给了雪人{count}{color}{thing}。",
            "太阳出来了，雪人不见了，只有{nose}和{color}{thing}还在。“雪人去哪里了？”{H}说。"
            "“回家了，”{F}说，“冬天他还会来的。”{close}",
        ],
    },
    {
        "draws": {"plant": PLANTS},
        "lines": [
            "{H}的大{plant}",
            "{intro}{day}{H}在地里种下了一颗{plant}种子。“快长吧。”{H}说。可是{plant}没有长出来。",
            "{fkind}{F}走过来。“给它喝水吧。”{F}说。{H}给了它水。可是{plant}没有长出来。"
            "{gkind}{G}走过来。“给它唱首歌吧。”{G}说。{H}唱了歌。可是{plant}没有长出来。",
            "“等一等吧。”{F}说。大家等呀等，等来了{count}大{plant}，{size}！“我的大{plant}！”{H}说。{use}{close}",
        ],
    },
    {
        "draws": {"fear": FEARS},
        "lines": [
            "勇敢的{H}",
            "{intro}{H}不怕{calm}，可是很怕{fear}。",
            "{trouble}“{shout}！”{F}说。{H}很怕。可是{F}是{he}的好朋友。",
            "{deed}一步，两步，三步。“我来了，{F}。”{H}说。两个好朋友一起回了家。"
            "“你真勇敢。”{F}说。“我一直都很怕。”{H}说。{night}",
        ],
    },
]
