"""Little stories: characters, objects with a use, and a dozen plots with many paraphrases."""
import zlib
from grammar import tidy

GIRLS = "Lily Mia Anna Emma Sara Rosie Ella Lucy Nora Zoe Maya Grace Ivy Ruby Amy Clara".split()
BOYS = "Tom Ben Max Sam Jack Leo Tim Noah Finn Oscar Adam Theo Hugo Luke Joe Owen".split()
PETNAMES = [("Pip", 0), ("Rusty", 0), ("Daisy", 1), ("Coco", 1), ("Biscuit", 0), ("Luna", 1),
            ("Bramble", 0), ("Poppy", 1), ("Milo", 0), ("Hazel", 1), ("Toby", 0), ("Willow", 1)]
# animal -> where it lives
ANIMALS = {
    "fox": "in the forest", "rabbit": "in a burrow under the hill", "bear": "in a cave",
    "mouse": "in a hole in the wall", "hedgehog": "under a pile of leaves", "owl": "in an old oak tree",
    "squirrel": "in a tall tree", "badger": "in the woods", "frog": "by the pond", "duck": "on the lake",
    "dog": "on a farm", "cat": "in a cosy house", "kitten": "in a cosy house", "puppy": "on a farm",
    "hen": "on a farm", "lamb": "in a green field", "goat": "on a hill", "pony": "in a green field",
    "donkey": "on a farm", "turtle": "by the river", "otter": "by the river", "beaver": "by the river",
    "deer": "in the forest", "wolf": "in the mountains", "lion": "on the plain", "elephant": "in the jungle",
    "monkey": "in the jungle", "penguin": "on the ice", "robin": "in the garden", "dragon": "in the mountains",
    "crow": "in an old oak tree", "cow": "on a farm", "pig": "on a farm", "horse": "on a farm", "snail": "in the garden", "sheep": "in a green field",
    "king": "in a castle", "princess": "in a castle", "knight": "in a castle", "wizard": "in a tower", "witch": "in the woods", "giant": "in the mountains",
    "pirate": "on a ship", "robot": "in a cosy house", "fairy": "in the garden", "baker": "in a small village", "farmer": "on a farm", "teacher": "in a little town",
}
GENDER = {"king": 0, "princess": 1, "knight": 0, "wizard": 0, "witch": 1, "pirate": 0, "fairy": 1, "hen": 1, "cow": 1}
# more things that can be lost and found; requests may name any of them
THINGS = ("candle clock camera pencil bicycle violin guitar piano cookie spoon cup lamp stone crown sword wand letter ticket flag wheel crystal bottle "
          "button ribbon necklace flower leaf nut egg pumpkin potato cheese sandwich pizza shoe boot glove coat bag box chair table door spaceship rocket train "
          "telescope compass magnet star diamond medal painting newspaper phone computer toy apple cake pie carrot puzzle balloon ball teddy bear").replace("teddy bear", "teddy_bear").split()
AADJ = "little|small|young|kind|clever|brave|gentle|friendly|curious|cheerful"
HOBBY = ("to [sing|dance|read|paint|swim|run|climb|explore|play outside|look at the stars|pick flowers|"
         "jump in puddles|listen to stories|watch the clouds|help others|bake|play games]")
# place -> (phrase, hiding spots)
PLACES = {
    "forest": ("in the forest", "under a log|behind a big tree|in the tall grass|under a bush"),
    "park": ("in the park", "under a bench|behind a tree|near the swings|in the tall grass"),
    "beach": ("on the beach", "in the sand|behind a rock|next to a big shell|under a boat"),
    "garden": ("in the garden", "under a bush|behind the shed|among the flowers|next to the gate"),
    "farm": ("on the farm", "behind the barn|under the hay|next to the fence|near the well"),
    "hill": ("on the hill", "behind a rock|in the long grass|under a small tree|next to the path"),
    "river": ("by the river", "under the bridge|between two stones|in the reeds|next to the water"),
    "market": ("at the market", "under a table|behind a basket|next to a cart|near the fountain"),
    "meadow": ("in the meadow", "in the long grass|among the flowers|under a hedge|behind a stone"),
    "pond": ("by the pond", "in the reeds|under a leaf|behind a rock|next to the water"),
    "lake": ("by the lake", "under a boat|behind a rock|in the reeds|next to the water"),
}
# object -> (adjectives, what goes wrong for {F}, how {O} helps)
OBJECTS = {
    "lantern": ("bright|old|little|brass|golden",
        "[{F} was lost in the dark|It grew dark, and {F} could not see the path home|{F} was afraid to walk home in the dark].",
        "[{N} lit {O}, and its warm light showed the way|{N} held up {O}, and the dark path became bright]. Together they walked [slowly|safely] home."),
    "rope": ("long|strong|thick|old",
        "[{F} had fallen into a deep hole and could not get out|{F} was stuck at the bottom of a deep hole].",
        "{N} let down {O}. {F} held on tight, and {N} pulled and pulled until {F} was [out|safe]."),
    "umbrella": ("big|red|blue|yellow|striped",
        "[Dark clouds came, and it began to rain hard|Suddenly it began to rain]. {F} was [wet and cold|wet and shivering].",
        "{N} opened {O} and held it over {F}. [They both stayed dry|Under it, both of them stayed dry] until the rain stopped."),
    "ladder": ("tall|wooden|long|old",
        "[{F} had climbed too high and could not get down from a tree|{F} was stuck at the top of a tall tree].",
        "{N} put {O} against the tree. [Step by step|Slowly and carefully], {F} climbed down to the ground."),
    "bucket": ("blue|big|red|tin|shiny",
        "[{F} had a garden, but all the flowers were dry|The flowers of {F} were dry and thirsty].",
        "{N} filled {O} with water from the well and watered [the flowers|every flower]. Soon the flowers stood up again."),
    "basket": ("big|round|brown|pretty",
        "[{F} had picked many apples but could not carry them all|{F} kept dropping all the apples on the ground].",
        "{N} put the apples in {O}, and they carried it home together. [Not one apple was lost|Then they made a sweet pie]."),
    "blanket": ("warm|soft|woolly|blue|thick",
        "[The night was cold, and {F} could not sleep|Snow fell, and {F} was very cold].",
        "{N} wrapped {O} around {F}. [Soon {F} was warm and fell asleep|Soon {F} was warm again and smiled]."),
    "whistle": ("silver|loud|little|shiny|tin",
        "[A thick fog came down, and {F} got lost|{F} was lost in the thick fog].",
        "{N} blew {O} as loud as {he} could. {F} heard the sound and followed it [back|home]."),
    "bell": ("golden|little|silver|old|shiny",
        "[{F} had lost all the sheep|All the sheep of {F} had run away].",
        "{N} rang {O}. [Ding, dong!|Ding, ding!] The sheep heard the sound, and one by one they came back."),
    "map": ("old|torn|dusty|secret",
        "[{F} did not know the way home|{F} had walked too far and was lost].",
        "{N} opened {O} and found the right path. [They followed it past the mill and over the bridge|They went over the bridge and past the mill], and soon they were home."),
    "key": ("golden|silver|rusty|tiny|shiny",
        "[{F} stood in front of a locked door and could not get in|The door of {F} was locked, and it would not open].",
        "{N} put {O} in the lock and turned it. Click! [The door opened|The door swung open], and {F} could go inside."),
    "boat": ("little|wooden|green|small",
        "[{F} was on the other side of the river and could not swim|The bridge was broken, and {F} could not cross the river].",
        "{N} pushed {O} into the water and rowed across. {F} climbed in, and they rowed back [safely|together]."),
    "shovel": ("big|strong|old|new",
        "[Snow covered the door, and {F} could not get out|So much snow fell that {F} could not open the door].",
        "{N} took {O} and began to dig. [Soon there was a path in the snow|Bit by bit, the snow was gone], and {F} came out."),
    "feather": ("soft|long|white|blue|golden",
        "[{F} was sad and had not laughed for days|{F} was grumpy and would not smile].",
        "{N} tickled {F} on the nose with {O}. {F} [giggled|began to giggle], and soon they were both laughing."),
    "mirror": ("round|shiny|little|silver",
        "[{F} was sad and felt ugly|{F} thought that nobody could like such a funny face].",
        "{N} held up {O}. \"Look, you have the kindest eyes,\" {N} said. {F} looked and [smiled|began to smile]."),
    "scarf": ("red|woolly|long|striped|warm",
        "[The wind was icy, and {F} had a cold neck|{F} was shivering in the icy wind].",
        "{N} took off {O} and put it around the neck of {F}. [{F} was warm at last|Now {F} was not cold any more]."),
    "book": ("big|old|thick|magic|dusty",
        "[{F} was bored, for it had rained all day|{F} could not go out and had nothing to do].",
        "{N} opened {O} and read a story about [a pirate|a dragon|a princess|a giant]. {F} listened and forgot the rain."),
    "flute": ("little|wooden|silver|old",
        "[{F} could not fall asleep|{F} had a bad dream and could not sleep].",
        "{N} played a [soft|slow|gentle] song on {O}. [Soon {F} was fast asleep|{F} closed both eyes and slept]."),
    "drum": ("big|red|loud|little",
        "[{F} slept so deeply that the boat would leave without {fhim}|{F} would not wake up, and it was very late].",
        "{N} beat {O}. [Boom, boom, boom!|Boom, boom!] {F} jumped up and was [just in time|not late after all]."),
    "kite": ("red|blue|yellow|big|striped",
        "[{F} was lost behind the hill|{F} could not find the others in the big meadow].",
        "{N} let {O} fly high in the sky. {F} saw it from far away and ran [to it|towards it]."),
    "hat": ("big|yellow|straw|green|funny",
        "[The sun was hot, and {F} had a headache|{F} was too hot in the bright sun].",
        "{N} put {O} on the head of {F}. [It made a nice cool shade|In its shade], {F} felt [much better|well again]."),
    "pot of honey": ("big|sweet|golden|little",
        "[{F} was ill and had a sore throat|{F} was in bed with a bad cough].",
        "{N} opened {O} and gave {F} a big spoon of it. [The cough went away|Soon {F} felt better], and {F} got up."),
    "pebble": ("smooth|round|grey|white",
        "[A branch lay across the path, and the cart of {F} would roll away|The cart of {F} began to roll down the hill].",
        "{N} quickly put {O} under the wheel, and the cart stopped. [Nothing was broken|{F} was very glad]."),
    "needle": ("sharp|thin|silver|tiny",
        "[{F} had torn a favourite coat|There was a hole in the coat of {F}].",
        "{N} took {O} and some thread and sewed the coat. [It looked as good as new|The hole was gone]."),
}
WANTS = ["ball", "doll", "teddy bear", "toy car", "toy boat", "kite", "balloon", "drum", "whistle", "puzzle"]
LOSE = {"ball": "red|big|blue|yellow", "teddy bear": "old|soft|brown|favourite", "hat": "blue|warm|new|woolly",
        "ring": "golden|tiny|silver", "shell": "pink|pretty|white", "coin": "shiny|golden|silver",
        "doll": "pretty|little|favourite", "kite": "red|new|big", "toy car": "blue|fast|little|red",
        "book": "favourite|new|big", "scarf": "red|woolly|striped", "whistle": "silver|tin|new",
        "key": "rusty|little|golden", "bell": "tiny|silver|golden", "feather": "white|blue|long",
        "mitten": "red|warm|green", "acorn": "big|brown|shiny", "pearl": "white|round|precious"}
FOODS = ["apple", "cake", "pie", "pear", "cookie", "sandwich", "carrot", "biscuit", "pancake", "plum"]
FEAR = {
    "the dark": "[\"The dark is only the day asleep,\" said {F}. \"Look, the stars are out.\"|{F} showed {N} the moon and the stars.] {N} looked up. [The stars were so pretty|The night was full of tiny lights].",
    "thunder": "[\"Thunder is only a loud noise,\" said {F}. \"It cannot hurt us inside.\"|{F} said, \"Let us count until the thunder is gone.\"] They counted together: one, two, three, four, five. [The thunder went farther and farther away|At last, the storm was over].",
    "deep water": "[\"I will hold your hand,\" said {F}.|{F} said, \"We can go in slowly, step by step.\"] First they put in their feet, then they went in a little more. [The water was cool and nice|After a while, {N} could float].",
    "high places": "[\"Do not look down. Look at me,\" said {F}.|{F} said, \"Take one small step, and then one more.\"] Step by step, {N} went up. [From the top, they could see the whole valley|At the top, they could see the sea].",
    "the big dog": "[\"{He} is big, but {he2} is kind,\" said {F}. \"Let {him2} smell your hand.\"|{F} said, \"Stand still and hold out your hand.\"] {N} held out a hand. The dog [wagged its tail|licked it gently].",
    "the first day of school": "[\"Everybody is new on the first day,\" said {F}.|{F} said, \"We can sit next to each other.\"] At school, the teacher smiled and [sang a song|read a funny story]. [Soon {N} had many friends|At lunch, {N} was laughing with the others].",
}
BUILD = {
    "tree house": ("wood and nails", "the wind blew it down", "they tied every board with strong rope"),
    "sandcastle": ("wet sand and shells", "a wave washed it away", "they built it far from the water"),
    "snowman": ("snow and a carrot", "the sun melted it", "they built it in the shade"),
    "kite": ("paper and string", "the paper tore", "they used strong cloth"),
    "raft": ("sticks and rope", "it fell apart in the water", "they made every knot tight"),
    "cake": ("flour, eggs and sugar", "it burned in the oven", "they watched the clock"),
    "bird house": ("wood and paint", "the roof fell off", "they used longer nails"),
    "bridge": ("stones and sticks", "it broke in the middle", "they put a big log under it"),
    "boat": ("wood and cloth", "it had a hole and sank", "they closed the hole with wax"),
    "robot": ("boxes and tape", "its arms fell off", "they used more tape"),
}
SEEDS = {"sunflower": "a tall yellow flower", "pumpkin": "a big orange pumpkin", "apple tree": "a little tree with green leaves",
         "bean": "a long green plant", "rose": "a beautiful red rose", "tomato": "a plant with round red tomatoes",
         "carrot": "a row of sweet carrots", "strawberry": "a plant with sweet red strawberries"}
MORAL = {
    "help": "[It is good to help others|A small kindness can be a big help|Helping a friend makes two hearts happy|A friend in need is glad of a helping hand].",
    "share": "[Things are more fun when you share them|Sharing makes everyone happy|It is better to share than to fight].",
    "brave": "[Being brave means trying even when you are afraid|You can be brave with a friend at your side|A little courage goes a long way].",
    "try": "[If you fail, try again|You can learn from every mistake|Never give up|Together, hard things become easy].",
    "honest": "[It is always best to tell the truth|The truth may be hard, but it is best|Honest words bring trust].",
    "wait": "[Good things take time|If you wait with patience, good things come|Every big thing starts small].",
    "pride": "[Slow and steady wins the race|It is not good to boast|Do not laugh at those who are slow].",
    "kind": "[Be kind to everyone you meet|Kind words cost nothing|It is good to be kind].",
    "care": "[Always look after your things|Good friends help you look|A true friend never gives up].",
}
HAPPY = "happy|very happy|glad|so happy|full of joy"
SAD = "sad|very sad|upset|unhappy"
THANK = ("\"[Thank you|Thank you so much|Oh, thank you], {Xv}!\" said {Y}. | \"[You are so kind|You are a true friend]!\" {Y} said to {X}. |"
         "{Y} hugged {X} and said, \"[Thank you|Thank you so much]!\" ")
END = ("[From that day on, {N} and {F} were [best friends|good friends|always together]|And they all lived happily ever after|"
       "{N} went home with a [happy heart|big smile]|That night, {N} slept [well|very well] and had sweet dreams|"
       "{N} and {F} [smiled|laughed] and played until the sun went down|After that, {N} and {F} [played together every day|were never lonely again]|"
       "It was the best day ever|{N} never forgot that day|And from that day on, they were never apart].")
DAY = ("One [fine day|fine morning|day|day|morning|afternoon|sunny day|sunny morning|cold day|windy day|spring day|summer day|winter morning|warm evening]")


class Storyteller:
    def __init__(self, g, held=False):
        self.g, self.held = g, held

    # --- characters -------------------------------------------------------
    def child(self, used=()):
        g = self.g
        while True:
            girl = g.chance(0.5)
            n = g.pick(GIRLS if girl else BOYS)
            if n not in used:
                return dict(name=n, kind="girl" if girl else "boy", she=girl, animal=False)

    def animal(self, used=(), kind=None, named=None):
        g = self.g
        while kind is None or kind in used:
            kind = g.pick(list(ANIMALS))
        she, name = GENDER.get(kind, g.chance(0.5)), "the " + kind
        if kind not in GENDER and (named if named is not None else g.chance(0.3)):
            name, she = g.pick(PETNAMES)
        return dict(name=name, kind=kind, she=bool(she), animal=True)

    def cast(self, hero=None, friend=None):
        g = self.g
        h = hero or (self.child() if g.chance(0.5) else self.animal())
        used = (h["name"], h["kind"])
        f = friend
        if not f:
            f = self.animal(used, named=False) if g.chance(0.6) or h["animal"] else self.child(used)
        v = dict(N=h["name"], F=f["name"], h=h, f=f, kind=h["kind"], fkind=f["kind"])
        for p, c in (("", h), ("f", f)):
            v[p + "he"], v[p + "him"], v[p + "his"] = ("she", "her", "her") if c["she"] else ("he", "him", "his")
        v["mum"] = g.pick(["mother", "father", "grandmother", "grandfather", "mum", "dad"])
        v["Nv"], v["Fv"] = (c["name"].replace("the ", g.pick(["dear ", "little ", "my dear "])) for c in (h, f))
        pl = g.pick(list(PLACES))
        v["pl"], (v["at"], v["spots"]) = pl, PLACES[pl]
        return v

    def who(self, c, first=True):
        """Introduce a character: 'a girl named Lily', 'a little fox', 'a fox named Pip'."""
        s = f"a [{AADJ}] {c['kind']}"
        return s if c["name"].startswith("the ") else s + f" [named|called|named] {c['name']}"

    def intro(self, v):
        h, g = v["h"], self.g
        who = self.who(h)
        if h["animal"]:
            home = ANIMALS[h["kind"]]
            s = g.pick([f"Once upon a time, there was {who}.", f"Once upon a time, there was {who} who lived {home}.",
                        f"Once upon a time, {who} lived {home}.", f"There was once {who}.", f"Long ago, {who} lived {home}.",
                        f"[Deep|Far away], {home}, lived {who}." if home.startswith("in the") else f"There once lived {who} {home}.",
                        f"A {h['kind']} named {h['name']} lived {home}." if not h["name"].startswith("the ") else f"A [{AADJ}] {h['kind']} lived {home}."])
        else:
            place = "[in a small village|in a little town|in a house by the sea|near a big forest|in a cottage on a hill|on a farm]"
            s = g.pick([f"Once upon a time, there was {who}.", f"Once upon a time, there was {who} who lived {place}.",
                        f"Once upon a time, {who} lived {place}.", f"There was once {who}.", "{N} was a [" + AADJ + "] {kind}.",
                        f"Long ago, {who} lived {place}.", "{N} was a {kind} who lived " + place + ".", f"In a [quiet|small|pretty] village lived {who}."])
        if g.chance(0.5):
            s += " [{N}|{he}] [loved|liked] " + HOBBY + "."
        return s

    def open(self, v, first):
        """Opening: usually an introduction; `first` is the first event, which may also open the story."""
        g = self.g
        if g.chance(0.62):
            return self.intro(v) + " " + DAY + ", " + first
        who = g.choose(self.who(v["h"])) if v["h"]["animal"] else v["N"]
        return self._open(first).replace("{N}", who, 1)

    def _open(self, first):
        g = self.g
        return g.pick([DAY + ", " + first, DAY + ", " + first, first,
                       "It was a [sunny|cold|windy|warm|rainy|bright] [day|morning|afternoon], and {N} was {at}. " + first,
                       "{N} was {at}. It was a [sunny|warm|cold|quiet] day. " + first])

    # --- plots ------------------------------------------------------------
    def solves(self, v, obj=None):
        """The hero finds an object and it helps a friend in trouble."""
        g = self.g
        allowed = lambda o: (zlib.crc32((v["kind"] + o).encode()) % 16 == 0) == self.held
        while obj is None:
            fit = [o for o in OBJECTS if allowed(o)]
            if fit or v.get("fixed"):
                obj = g.pick(fit or list(OBJECTS))
            else:                              # no held-out object for this hero: take another hero
                v = self.cast()
        adj, prob, fix = OBJECTS[obj]
        v.update(o=obj, O="the " + obj, adj=g.pick(adj.split("|")))
        first = g.pick(["{N} found a {adj} {o} [{spots}].", "{N} found a {adj} {o} {at}.", "{N} saw something [{spots}]. It was a {adj} {o}.",
                        "{N} went for a walk {at} and found a {adj} {o}.", "{N} got a {adj} {o} from {his} {mum}.",
                        "{N} was playing {at} when {he} found a {adj} {o} [{spots}]."])
        s = self.open(v, first)
        s += g.pick([" \"[What a nice {o}|What a lovely {o}|Oh, a {o}]!\" said {N}.", " \"This {o} may be useful,\" {N} [thought|said].",
                     " {N} [picked it up|took it home] and was [" + HAPPY + "].", " {N} had always wanted a {o}.", " \"I will keep it safe,\" said {N}."])
        s += g.pick(["" if obj in ("ladder", "boat") else " {N} [took {O} everywhere|carried {O} along the path].", " Then {he} went on {his} way.", ""])
        meet = g.pick([" [Soon|Later|After a while|That evening|The next day], {N} met {ff}.", " [Then|Suddenly], {N} heard [a small voice|someone crying|a cry for help]. It was {ff}.",
                       " Not far away, {N} saw {ff}."])
        v["ff"] = g.choose(self.who(v["f"]))
        s += meet + " " + prob + " "
        s += g.pick(["\"[Can you help me?|Please help me!|Help! Help!]\" [cried|said] {F}. ", "\"Oh no! What can I do?\" said {F}. ",
                     "\"[Don't worry|Do not worry], I can help you,\" said {N}. ", "\"Do not cry,\" said {N}. \"I have a {o}.\" ",
                     "{N} wanted to help. ", "{N} thought for a moment. Then {he} had an idea. "])
        s += fix + " "
        s += g.choose(THANK.replace("{X", "{N").replace("{Y}", "{F}").join("[]"))
        if g.chance(0.35):
            s += g.pick(["\"{O} is the best thing I have ever found,\" said {N}. ", "{N} was proud of {O}. ", "\"I am glad I had {O},\" said {N}. "])
        return s, "help", v

    def lost(self, v, obj=None):
        """The hero loses a treasure and a friend helps to find it."""
        g = self.g
        obj = (obj or g.pick(list(LOSE) + THINGS)).replace("_", " ")
        v.update(o=obj, O="the " + obj, adj=g.pick(LOSE.get(obj, "little|new|old|pretty|special").split("|")), ff=g.choose(self.who(v["f"])))
        s = self.open(v, g.pick(["{N} lost {his} {adj} {o}.", "{N} could not find {his} {adj} {o}.", "{N} wanted to play with {his} {adj} {o}, but it was gone.",
                                 "{N} took {his} {adj} {o} to the {pl}. [But on the way home|But later], it was gone."]))
        s += g.pick([" {N} was [" + SAD + "].", " {N} began to cry.", " \"Oh no! Where is my {o}?\" said {N}."])
        s += g.pick([" {he} looked under the bed, but it was not there.", " {he} looked behind the door, but it was not there.",
                     " {he} looked in every box, but {he} did not find it.", " {he} looked here and there, but there was no {o}."])
        s += g.pick([" {ff} came by. \"Why are you sad?\" asked {F}. \"I lost my {o},\" said {N}.", " {N} met {ff}. \"Have you seen my {o}?\" asked {N}. \"No,\" said {F}, \"but I will help you look.\"",
                     " {N} asked {ff} for help."])
        s += g.pick([" They looked together {at}.", " They went to the {pl} and looked everywhere.", " \"Let us look {at},\" said {F}."])
        s += g.pick([" [At last|Then|After a long time], {F} saw something [{spots}].", " [At last|Then], {N} looked [{spots}]."])
        s += g.pick([" It was {O}!", " There it was! It was {O}.", " \"Look! Here is your {o}!\" [said|shouted] {F}."])
        s += " " + g.pick(["{N} was [" + HAPPY + "].", "{N} jumped for joy.", "{N} smiled a big smile."]) + " " + g.choose(THANK.replace("{X", "{F").replace("{Y}", "{N}").join("[]"))
        return s, "care", v

    def found(self, v, obj=None):
        """The hero finds something and gives it back to its owner."""
        g = self.g
        obj = (obj or g.pick(list(LOSE) + THINGS)).replace("_", " ")
        v.update(o=obj, O="the " + obj, adj=g.pick(LOSE.get(obj, "little|new|old|pretty|special").split("|")), ff=g.choose(self.who(v["f"])), food=g.pick(FOODS))
        s = self.open(v, g.pick(["{N} found a {adj} {o} {at}.", "{N} found a {adj} {o} [{spots}].", "{N} saw a {adj} {o} [{spots}]."]))
        s += g.pick([" \"Whose {o} is this?\" {N} [asked|wondered].", " \"It is so pretty,\" said {N}. \"But it is not mine.\"", " {N} wanted to keep it. But it was not {his} {o}."])
        s += g.pick([" {he} asked [the baker|the farmer|the teacher|the old miller]. But nobody knew.", " {he} asked everyone {at}.", " So {he} went to look for the owner."])
        s += g.pick([" Then {N} saw {ff}. {F} was [" + SAD + "].", " [Soon|Later], {N} met {ff} who was crying."])
        s += g.pick([" \"I have lost my {o},\" said {F}.", " \"What is wrong?\" asked {N}. \"My {o} is gone,\" said {F}."])
        s += g.pick([" \"Is this your {o}?\" asked {N}. \"Yes, it is!\" said {F}.", " {N} held out {O}. \"Here it is,\" {he} said.", " \"Here is your {o},\" said {N}."])
        s += " {F} was [" + HAPPY + "]. " + g.pick(["{F} gave {N} a [sweet|big] {food}.", "To say thank you, {F} gave {N} a {food}.", "They shared a {food} and laughed."]) + " "
        return s, "honest", v

    def fear(self, v):
        g = self.g
        what = g.pick(list(FEAR))
        v.update(what=what, ff=g.choose(self.who(v["f"])), He="He", he2="he", him2="him")
        s = self.open(v, g.pick(["{N} was afraid of {what}.", "{N} was very afraid of {what}.", "{N} felt scared. {he} was afraid of {what}."]))
        s += g.pick([" \"I am scared,\" said {N}.", " {his} heart beat fast.", " {N} wanted to hide.", " {N} began to shake."])
        s += g.pick([" {ff} came and sat down next to {N}.", " {N} had a friend, {ff}.", " {N} told {ff} about it."])
        s += g.pick([" \"Do not be afraid,\" said {F}. \"I am with you.\" ", " \"I was afraid of {what} too,\" said {F}. ", " \"It is all right to be scared,\" said {F}. "])
        s += FEAR[what] + " " + g.pick(["{N} was not afraid any more.", "Now {N} felt brave.", "\"I did it!\" said {N}.", "{N} smiled. It was not so bad."]) + " "
        if g.chance(0.5):
            s += g.choose(THANK.replace("{X", "{F").replace("{Y}", "{N}").join("[]"))
        return s, "brave", v

    def share(self, v):
        g = self.g
        obj = g.pick(WANTS + FOODS)
        v.update(o=obj, O="the " + obj, adj=g.pick(["big", "red", "new", "nice", "yellow"]) if obj in WANTS else g.pick(["big", "sweet", "nice", "fresh"]))
        s = self.open(v, g.pick(["{N} and {F} found a {adj} {o} {at}.", "{N} had a {adj} {o}. {F} wanted it too.", "{N} and {F} were {at}. They saw a {adj} {o}."]))
        s += g.pick([" \"It is mine!\" said {N}. \"No, it is mine!\" said {F}.", " \"I saw it first!\" said {N}. \"No, I did!\" said {F}.", " \"Give it to me!\" said {F}. \"No!\" said {N}."])
        s += g.pick([" They pulled and pulled, and both fell down.", " They were angry and did not talk to each other.", " They began to shout."])
        s += g.pick([" {N} sat alone and felt [" + SAD + "].", " Soon both of them were [" + SAD + "].", " It was not fun to be angry."])
        if obj in FOODS:
            s += g.pick([" Then {N} [cut|broke] {O} in two. \"Half for you and half for me,\" {he} said.", " \"I am sorry,\" said {N}. \"Let us share {O}.\" {F} smiled and took one half."])
            s += g.pick([" They ate {O} together, and it was [sweet|delicious|very good]. ", " {O} tasted much better now. "])
        else:
            s += g.pick([" Then {N} had an idea. \"You can play first, and then it is my turn,\" {he} said.", " \"I am sorry,\" said {N}. \"Let us play together.\" {F} smiled."])
            s += g.pick([" They played with {O} all day. ", " They took turns and had a lot of fun. "])
        return s, "share", v

    def build(self, v):
        g = self.g
        what = g.pick(list(BUILD))
        mat, fail, fix = BUILD[what]
        v.update(o=what, O="the " + what, mat=mat, fail=fail, fix=fix, ff=g.choose(self.who(v["f"])))
        s = self.open(v, g.pick(["{N} wanted to make a {o}.", "{N} had an idea. {he} wanted to make a {o}.", "{N} said, \"I will make a {o}!\""]))
        s += g.pick([" {he} took {mat} and began to work.", " {he} got {mat}.", " {he} needed {mat}."])
        s += g.pick([" {he} worked all morning.", " {he} worked hard.", ""]) + " But [then|soon] {fail}."
        s += g.pick([" \"Oh no!\" said {N}. \"My {o}!\"", " {N} was [" + SAD + "] and wanted to give up.", " {N} sat down and cried."])
        s += g.pick([" {ff} came by. \"Try again. I will help you,\" said {F}.", " Then {ff} said, \"Let us try again together.\""])
        s += g.pick([" So they tried again. This time, {fix}.", " They started again, and this time {fix}."])
        s += g.pick([" It worked! {O} was [wonderful|perfect|great].", " At last, {O} was ready. It was [wonderful|perfect|beautiful].", " \"We did it!\" [they shouted|said {N}]."])
        s += " " + g.pick(["{N} was [proud|" + HAPPY + "]. ", g.choose(THANK.replace("{X", "{F").replace("{Y}", "{N}").join("[]"))])
        return s, "try", v

    def honest(self, v):
        g = self.g
        v.update(o=g.pick(["vase", "cup", "window", "plate", "lamp", "pot", "mirror", "jar"]), mum=g.pick(["mother", "father", "grandmother", "grandfather"]))
        m = v["mum"] in ("mother", "grandmother")
        v.update(mhe="she" if m else "he", how=g.pick(["with a ball", "while running", "while jumping", "while playing", "by accident"]))
        s = self.open(v, g.pick(["{N} broke {his} {mum}'s {o} {how}.", "{N} was playing with {F} in the house. Crash! The {o} fell down and broke.",
                                 "{N} ran too fast and bumped into the table. The {o} fell and broke."]))
        s += g.pick([" {N} was scared.", " \"Oh no!\" said {N}.", " {N} did not know what to do."])
        s += g.pick([" First, {he} wanted to hide the pieces.", " \"We can say it was the wind,\" said {F}.", " {he} hid behind the door."])
        s += g.pick([" But {N} knew that it was wrong.", " But lying felt bad.", " \"No,\" said {N}, \"I will tell the truth.\""])
        s += g.pick([" {N} went to {his} {mum} and said, \"I broke the {o}. I am sorry.\"", " \"I broke the {o},\" {N} told {his} {mum}. \"I am so sorry.\""])
        s += g.pick([" {his} {mum} was not angry. \"Thank you for telling the truth,\" {mhe} said.", " {his} {mum} smiled and said, \"You were brave to tell me.\""])
        s += g.pick([" Together, they cleaned the floor. ", " They picked up the pieces together. ", " {his} {mum} gave {him} a hug. "])
        return s, "honest", v

    def sick(self, v):
        g = self.g
        v.update(gift=g.pick(["hot soup", "warm tea", "sweet honey", "fresh bread", "red apples", "a bunch of flowers", "a warm blanket", "a funny book"]), ff=g.choose(self.who(v["f"])))
        s = self.open(v, g.pick(["{N} wanted to play with {F}, but {F} was ill.", "{N} heard that {F} was ill.", "{F} did not come to play with {N}. {F} was ill in bed."]))
        s += g.pick([" \"Poor {fn}!\" said {N}.", " {N} was worried.", " \"I must do something,\" {N} thought."])
        s += g.pick([" {he} made a plan to help.", " {he} took a basket and went to the house of {F}.", " {he} walked a long way past the {pl}."])
        s += g.pick([" {N} brought {F} {gift}.", " \"I have brought you {gift},\" said {N}."])
        s += g.pick([" {N} sat by the bed and told {F} a story.", " {N} sang a soft song.", " Then {N} told a funny joke, and {F} laughed."])
        s += g.pick([" [The next day|After two days|Soon], {F} felt [better|well again].", " Day by day, {F} got better."])
        s += " " + g.choose(THANK.replace("{X", "{N").replace("{Y}", "{F}").join("[]"))
        return s, "kind", v

    def race(self, v):
        g = self.g
        a, b = self.g.pick([("rabbit", "turtle"), ("fox", "hedgehog"), ("deer", "duck"), ("pony", "goat"), ("wolf", "donkey"), ("cat", "mouse"), ("dog", "hen")])
        v = self.cast(self.animal(kind=a), self.animal(kind=b, named=False))
        v.update(ff=g.choose(self.who(v["f"])), goal=g.pick(["the big oak tree", "the old bridge", "the top of the hill", "the river", "the mill"]))
        s = self.intro(v) + g.pick([" {he} could run very fast.", " {he} was the fastest of all."]) + g.pick([" \"Nobody is as fast as I am!\" {he} said.", " {he} boasted about it every day."])
        s += g.pick([" {N} laughed at {ff} for being slow.", " \"You are so slow!\" {N} said to {ff}."])
        s += g.pick([" \"Let us race to {goal},\" said {F}.", " \"I will race you to {goal},\" said {F} [calmly|with a smile]."])
        s += " The race began." + g.pick([" {N} ran ahead and was soon far away.", " {N} was soon out of sight."])
        s += g.pick([" \"I have lots of time,\" {he} thought, and lay down to sleep.", " Then {he} stopped to eat and rest under a tree."])
        s += g.pick([" But {F} walked on and on, step by step.", " {F} did not stop, not even once."])
        s += g.pick([" When {N} woke up, {F} was already at {goal}.", " When {N} came to {goal}, {F} was already there."])
        s += g.pick([" \"You won,\" said {N}. \"I am sorry that I laughed.\" ", " {F} had won the race! {N} said sorry. "])
        return s, "pride", v

    def grow(self, v):
        g = self.g
        seed = g.pick(list(SEEDS))
        v.update(o=seed, grown=SEEDS[seed], ff=g.choose(self.who(v["f"])))
        s = self.open(v, g.pick(["{N} planted a {o} seed in the garden.", "{N} got a {o} seed from {his} {mum}.", "{N} found a {o} seed and put it in the ground."]))
        s += g.pick([" {he} gave it water every day.", " Every morning, {N} gave it some water.", " {he} watered it and waited."])
        s += g.pick([" But nothing happened. \"Why does it not grow?\" asked {N}.", " Day after day, {N} saw only brown earth. \"It will never grow,\" {he} said."])
        s += g.pick([" \"You must wait,\" said {F}. \"Good things take time.\"", " \"Be patient,\" said {F}. \"It is growing under the ground.\""])
        s += g.pick([" So {N} waited. The sun shone, and the rain fell.", " So {N} went on giving it water, in sun and wind."])
        s += g.pick([" One morning, there was a tiny green leaf.", " Then, one day, something green came out of the earth."])
        s += g.pick([" It grew and grew until it was {grown}. ", " Weeks later, there was {grown}. "]) + g.pick(["{N} showed it to everyone. ", "{N} was [proud|" + HAPPY + "]. "])
        return s, "wait", v

    def birthday(self, v):
        g = self.g
        v.update(food=g.pick(["chocolate cake", "apple cake", "carrot cake", "big cake", "strawberry cake"]), gift=g.pick(WANTS), col=g.pick(["red", "blue", "yellow", "big", "new"]))
        s = self.open(v, g.pick(["it was {N}'s birthday.", "{N} woke up early. It was {his} birthday!", "{N} was excited, because it was {his} birthday."]))
        s += g.pick([" But nobody said \"Happy birthday\".", " But nobody was there."]) + g.pick([" {N} went to see {F}, but {F} was not at home.", " {F} said, \"I am busy today,\" and ran away."])
        s += g.pick([" \"Everyone has forgotten me,\" {N} thought.", " {N} felt lonely and [" + SAD + "]."])
        s += g.pick([" In the evening, {N} went home.", " Slowly, {N} walked home."]) + g.pick([" When {he} opened the door, it was dark. Then all the lights went on.", " {he} opened the door and saw many lights."])
        s += g.pick([" \"Surprise!\" shouted {F} and all the friends.", " \"Happy birthday!\" everyone shouted."]) + " There was a {food} and a {col} {gift}."
        s += g.pick([" \"We did not forget you,\" said {F}. ", " {N} laughed and was [" + HAPPY + "]. "])
        return s, "kind", v

    def rescue(self, v):
        g = self.g
        v.update(trouble=g.pick(["had a thorn in {fhis} foot", "was caught in a net", "was stuck in the mud", "had hurt {fhis} leg", "had {fhis} head stuck in a jar", "was stuck between two rocks"]))
        fixes = {"thorn": "{N} [carefully|gently] pulled out the thorn.", "net": "{N} bit and pulled until the net was open.", "mud": "{N} found a long stick, and {F} held on to it. {N} pulled {F} out of the mud.",
                 "leg": "{N} put a cool leaf on the leg and tied it with grass.", "jar": "{N} pulled and pulled. Pop! The jar came off.", "rocks": "{N} pushed one of the rocks away, and {F} was free."}
        key = next(k for k in fixes if k in v["trouble"])
        v["trouble"] = g.text(v["trouble"], v)
        v["ff"] = g.choose(self.who(v["f"]))
        s = self.open(v, g.pick(["{N} was walking {at} when {he} heard a cry.", "{N} heard someone crying {at}.", "{N} went to the {pl} and heard a cry."]))
        s += " It was {ff}." + g.pick([" {F} {trouble}.", " {F} {trouble} and could not move."])
        s += g.pick([" \"Please help me,\" said {F}.", " \"Help! Help!\" cried {F}.", " \"It hurts,\" said {F}." if key in ("thorn", "leg") else " \"I cannot get free,\" said {F}."])
        s += g.pick([" \"Do not worry,\" said {N}.", " \"Hold still,\" said {N}.", " {N} was not afraid."]) + " " + fixes[key] + " " + g.choose(THANK.replace("{X", "{N").replace("{Y}", "{F}").join("[]"))
        if g.chance(0.4):
            s += g.pick(["The next day, {N} was lost in the woods. This time, {F} came and showed {N} the way home. ", "{F} gave {N} some sweet berries. ", "Later, {N} fell into the river, and {F} pulled {him} out. "])
        return s, "help", v

    PLOTS = ["solves"] * 5 + ["lost", "found", "fear", "share", "build", "honest", "sick", "race", "grow", "birthday", "rescue"]

    def story(self, hero=None, friend=None, obj=None, plot=None, opener=None):
        """A whole story as one paragraph. Fixed hero and object are used by the chat corpus."""
        g = self.g
        v = self.cast(hero, friend)
        if obj or hero:
            v["fixed"] = True
        plot = plot or g.pick(self.PLOTS)
        v["fn"] = v["F"].replace("the ", "")
        plan = getattr(self, plot)
        s, moral, v = plan(v, obj) if plot in ("solves", "lost", "found") else plan(v)
        if "{ff}" not in s:
            s = s.replace("{F}", "[{F}|{his} friend {F}]", 1)
        v["spots"] = "[" + v["spots"] + "]"
        e = g.rng.random()
        if e < 0.45:
            s += " " + END
        elif e < 0.75:
            s += " " + g.pick(["", "", "{N} [learned|had learned] something that day: ", "The moral of the story is: ", "And the lesson is this: "]) + MORAL[moral]
        else:
            s += " " + END + " " + MORAL[moral]
        return tidy(g.text(s.replace("[{spots}]", "{spots}"), v))


if __name__ == "__main__":
    from grammar import Grammar
    import sys
    st = Storyteller(Grammar(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
    for p in dict.fromkeys(st.PLOTS):
        for _ in range(2):
            print(f"[{p}]", st.story(plot=p), "\n")
