"""Short chats: fact tables with question paraphrases, small sums, small talk and requested stories."""
from grammar import tidy
import stories as S

CAPITALS = dict(x.split(":") for x in (
    "France:Paris,Germany:Berlin,Italy:Rome,Spain:Madrid,Portugal:Lisbon,Austria:Vienna,Switzerland:Bern,Belgium:Brussels,"
    "Poland:Warsaw,Sweden:Stockholm,Norway:Oslo,Denmark:Copenhagen,Finland:Helsinki,Greece:Athens,Ireland:Dublin,England:London,"
    "Scotland:Edinburgh,Wales:Cardiff,Russia:Moscow,China:Beijing,Japan:Tokyo,India:New Delhi,Egypt:Cairo,Kenya:Nairobi,Canada:Ottawa,"
    "Mexico:Mexico City,Brazil:Brasilia,Peru:Lima,Chile:Santiago,Cuba:Havana,Australia:Canberra,New Zealand:Wellington,"
    "Hungary:Budapest,Iceland:Reykjavik,Thailand:Bangkok,Turkey:Ankara,the United States:Washington,the Netherlands:Amsterdam").split(","))
COLOURS = {"the sky": "blue", "grass": "green", "snow": "white", "the sun": "yellow", "a banana": "yellow", "a tomato": "red",
           "a carrot": "orange", "a lemon": "yellow", "milk": "white", "coal": "black", "a frog": "green", "a strawberry": "red",
           "an elephant": "grey", "chocolate": "brown", "a cherry": "red", "a pumpkin": "orange", "blood": "red", "a polar bear": "white",
           "a leaf in summer": "green", "the night": "black", "a plum": "purple", "a flamingo": "pink", "a crow": "black", "sand": "yellow"}
OPPOSITE = ("hot:cold big:small fast:slow up:down day:night good:bad happy:sad old:new open:closed light:dark tall:short full:empty wet:dry "
            "hard:soft high:low left:right rich:poor strong:weak loud:quiet clean:dirty early:late near:far in:out on:off begin:end win:lose "
            "love:hate push:pull yes:no true:false first:last thick:thin heavy:light wide:narrow deep:shallow young:old sweet:sour rough:smooth "
            "sharp:blunt asleep:awake brave:afraid friend:enemy above:below inside:outside buy:sell give:take black:white").split()
OPPOSITE = [tuple(x.split(":")) for x in OPPOSITE]
OPPOSITE += [(b, a) for a, b in OPPOSITE if b not in ("light", "short", "old", "dark")]
OPPOSITE = list(dict(reversed(OPPOSITE)).items())
SOUNDS = {"dog": "woof", "cat": "meow", "cow": "moo", "sheep": "baa", "duck": "quack", "pig": "oink", "lion": "roar", "mouse": "squeak",
          "owl": "hoot", "frog": "ribbit", "snake": "hiss", "bee": "buzz", "hen": "cluck", "horse": "neigh", "robin": "tweet", "donkey": "hee-haw"}
BABIES = {"dog": "puppy", "cat": "kitten", "cow": "calf", "sheep": "lamb", "duck": "duckling", "horse": "foal", "hen": "chick", "bear": "cub",
          "lion": "cub", "deer": "fawn", "goat": "kid", "pig": "piglet", "frog": "tadpole", "goose": "gosling", "kangaroo": "joey", "swan": "cygnet"}
LEGS = {"dog": "four", "cat": "four", "spider": "eight", "bee": "six", "ant": "six", "bird": "two", "horse": "four", "duck": "two",
        "cow": "four", "snake": "no", "fish": "no", "elephant": "four", "hen": "two", "beetle": "six", "person": "two", "fly": "six"}
IS_A = {"robin": "a small bird with a red breast", "whale": "a very big animal that lives in the sea", "rose": "a flower with a sweet smell",
        "carrot": "an orange vegetable", "apple": "a round fruit that grows on a tree", "piano": "a musical instrument with black and white keys",
        "hammer": "a tool for hitting nails", "oak": "a big tree", "fox": "a wild animal with red fur", "lantern": "a lamp that you can carry",
        "river": "a long stream of water that flows to the sea", "island": "land with water all around it", "volcano": "a mountain that can throw out fire and hot rock",
        "library": "a place with many books", "baker": "a person who makes bread and cakes", "doctor": "a person who helps sick people",
        "teacher": "a person who helps children to learn", "farmer": "a person who grows food", "bicycle": "a machine with two wheels that you can ride",
        "clock": "a thing that shows the time", "penguin": "a black and white bird that cannot fly", "bat": "a small animal that flies at night",
        "bee": "an insect that makes honey", "umbrella": "a thing that keeps you dry in the rain", "compass": "a tool that shows where north is",
        "planet": "a big ball that moves around a star", "star": "a huge ball of hot gas that shines", "poem": "a short text with beautiful words",
        "triangle": "a shape with three sides", "square": "a shape with four equal sides", "kite": "a toy that flies in the wind", "hedgehog": "a small animal with many spines"}
QA = {  # question|paraphrase : answer
    "How many days are in a week?|How many days does a week have?": "There are seven days in a week.",
    "How many months are in a year?|How many months does a year have?": "There are twelve months in a year.",
    "How many hours are in a day?|How many hours does a day have?": "There are twenty-four hours in a day.",
    "How many minutes are in an hour?": "There are sixty minutes in an hour.",
    "How many seconds are in a minute?": "There are sixty seconds in a minute.",
    "How many seasons are there?|What are the four seasons?|Name the seasons.": "There are four seasons: spring, summer, autumn and winter.",
    "How many fingers do you have on one hand?|How many fingers are on a hand?": "There are five fingers on one hand.",
    "What do bees make?|What does a bee make?": "Bees make honey.", "Where do fish live?|Where does a fish live?": "Fish live in water.",
    "What do cows eat?|What does a cow eat?": "Cows eat grass.", "What do cows give us?": "Cows give us milk.",
    "What do we use to see?|What do you see with?": "We see with our eyes.", "What do you hear with?|What do we use to hear?": "We hear with our ears.",
    "What do you smell with?": "We smell with our nose.", "What do birds have that other animals do not?": "Birds have feathers.",
    "What is ice made of?|What is ice?": "Ice is frozen water.", "What falls from the clouds?|Where does rain come from?": "Rain falls from the clouds.",
    "What do we call frozen rain?": "Frozen rain is called hail.", "What is the biggest animal?|What is the largest animal in the world?": "The blue whale is the biggest animal.",
    "What is the fastest animal on land?|Which animal runs fastest?": "The cheetah is the fastest animal on land.",
    "What is the tallest animal?|Which animal is the tallest?": "The giraffe is the tallest animal.",
    "What is the biggest planet?|Which planet is the biggest?": "Jupiter is the biggest planet.", "Which planet do we live on?|What planet do we live on?": "We live on the planet Earth.",
    "Which planet is closest to the sun?": "Mercury is closest to the sun.", "What goes around the Earth?": "The Moon goes around the Earth.",
    "How many planets are there?": "There are eight planets.", "Where does the sun rise?": "The sun rises in the east.", "Where does the sun set?": "The sun sets in the west.",
    "What is bread made of?|What do you need to make bread?": "Bread is made of flour, water, salt and yeast.",
    "What is cheese made of?|What is cheese made from?": "Cheese is made from milk.", "What is glass made of?": "Glass is made from sand.",
    "What is paper made of?|What is paper made from?": "Paper is made from wood.", "Where do eggs come from?": "Eggs come from hens.",
    "Where does wool come from?": "Wool comes from sheep.", "What do you wear on your feet?": "You wear socks and shoes on your feet.",
    "What do you wear on your head?": "You wear a hat on your head.", "What do plants need to grow?": "Plants need light, water and air to grow.",
    "Why is the sky blue?": "The air scatters blue light more than red light, so the sky looks blue.",
    "Why do leaves fall in autumn?": "Trees drop their leaves in autumn to save water for the winter.",
    "Can penguins fly?|Can a penguin fly?": "No, penguins cannot fly, but they swim very well.", "Can fish swim?": "Yes, fish can swim.",
    "Can birds fly?|Can a bird fly?": "Yes, most birds can fly.", "Can dogs fly?|Can a dog fly?": "No, dogs cannot fly.", "Can pigs fly?": "No, pigs cannot fly.",
    "Who wrote Romeo and Juliet?|Who wrote Hamlet?": "William Shakespeare wrote it.", "What language do people speak in Spain?": "People in Spain speak Spanish.",
    "What language do people speak in France?": "People in France speak French.", "Name three colours.|Name three colors.": "Red, blue and green.",
    "Name three animals.": "A fox, an owl and a bear.", "Name three fruits.|Name some fruits.": "An apple, a pear and a plum.", "Name two vegetables.": "A carrot and a potato.",
    "What colours are in a rainbow?|What are the colours of the rainbow?": "Red, orange, yellow, green, blue, indigo and violet.",
    "What do you get when you mix blue and yellow?|What colour do blue and yellow make?": "Blue and yellow make green.",
    "What do you get when you mix red and yellow?|What colour do red and yellow make?": "Red and yellow make orange.",
    "What do you get when you mix red and blue?|What colour do red and blue make?": "Red and blue make purple.",
    "How many sides does a triangle have?": "A triangle has three sides.", "How many sides does a square have?": "A square has four sides.",
    "How many sides does a hexagon have?": "A hexagon has six sides.", "What is the first month of the year?": "January is the first month of the year.",
    "What is the last month of the year?": "December is the last month of the year.", "What is the first letter of the alphabet?": "The first letter of the alphabet is A.",
    "How many letters are in the alphabet?": "There are twenty-six letters in the English alphabet.",
    "What is the longest river in Africa?": "The Nile is the longest river in Africa.", "What is the highest mountain in the world?|What is the highest mountain?": "Mount Everest is the highest mountain in the world.",
    "What is the largest ocean?|Which ocean is the largest?": "The Pacific is the largest ocean.", "At what temperature does water boil?|When does water boil?": "Water boils at one hundred degrees Celsius.",
    "At what temperature does water freeze?|When does water freeze?": "Water freezes at zero degrees Celsius.",
    "What should I do when I am tired?|I am tired.": "You should rest and get some sleep.", "What should I do when it rains?": "Take an umbrella, or stay inside and read a book.",
    "I am sad.|I feel sad.|I feel sad today.": "I am sorry to hear that. A walk or a talk with a friend may help.", "I am happy.|I am happy today.": "That is wonderful. I am glad to hear it.",
    "I am hungry.|What should I do when I am hungry?": "You should eat something, perhaps an apple or some bread.", "I am bored.": "You could read a book, draw a picture or play outside.",
    "I am cold.": "Put on a warm coat and drink some hot tea.", "How do I make tea?|How do you make tea?": "Boil some water, pour it over the tea and wait for three minutes.",
    "How do I make a sandwich?": "Take two slices of bread and put cheese and tomato between them."}
SMALL = {
    "Hello|Hi|Hello!|Hi!|Hello there|Hey|Good day": "Hello! How can I help you?|Hello! What would you like to know?|Hello! It is nice to meet you.",
    "Good morning|Good morning!": "Good morning! How can I help you?", "Good evening!|Good evening": "Good evening! How can I help you?",
    "Good night|Good night!": "Good night! Sleep well.", "How are you?|How are you today?|How do you do?": "I am fine, thank you. How are you?|I am very well, thank you.",
    "I am fine.|I am fine, thank you.|I am well.": "I am glad to hear that.",
    "Thank you|Thank you!|Thanks|Thanks!|Thank you very much.|That is great, thank you!": "You are welcome!|You are welcome. I am glad I could help.",
    "Bye|Goodbye|Goodbye!|Bye!|See you later!": "Goodbye! Have a nice day.|Goodbye! See you soon.",
    "Who are you?|What are you?|Tell me about yourself.": "I am a small language model. I tell little stories and answer simple questions.",
    "What is your name?|Do you have a name?": "I have no name. I am a small language model.", "What can you do?|How can you help me?|What do you know?|Help": "I can tell little stories, do small sums and answer simple questions.",
    "Are you a robot?|Are you a human?|Are you a person?|Are you real?": "I am a small computer program, not a person.", "How old are you?": "I have no age. I am a computer program.",
    "Where do you live?|Where are you?": "I live inside a computer.", "Do you like me?|Do you like music?|Do you like cake?|Do you like cats?": "I am only a program, but I like to talk with you.",
    "Tell me a joke.|Tell me a joke|Do you know a joke?|Make me laugh.": "Why did the cookie go to the doctor? Because it felt crumbly.|What do you call a bear with no teeth? A gummy bear.|Why is six afraid of seven? Because seven eight nine.|What is brown and sticky? A stick.",
    "Can you keep a secret?|Can you see my words?|Do you know what I write?|Can you read this?": "Yes, but nobody has to see your words to run me. That is the idea of this demo."}
UNKNOWN = ("Who won the [game|race|match|cup|election] [yesterday|last year|today]?|What is the weather [today|tomorrow|like in Paris|like]?|Will it rain [today|tomorrow]?|What time is it?|What day is it today?|"
           "How much does a [house|car|ticket|phone] cost?|What is the price of [gold|bread|oil]?|Who is the [president|king|queen|mayor|prime minister] of [France|the city|my town]?|"
           "What is the meaning of life?|Write a [program|poem|song] for me.|How do I fix my [car|computer|phone|roof]?|Explain [quantum physics|the law|chemistry] to me.|"
           "What is my name?|Where did I put my [phone|keys|bag]?|What did I eat [today|yesterday]?|Who is my [brother|teacher|boss]?|Which [film|song|team] is the best?|"
           "Translate this into [French|German|Latin].|What will happen [tomorrow|next year]?|When was [the war|my mother|this town] [born|over]?|Should I buy [a car|shares|a house]?")
DUNNO = ["I do not know that. I am only a small model.", "I am sorry, but I do not know.", "I am too small to know that. Ask me something simple."]
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
SIZES = "ant bee mouse rabbit cat fox goat lion horse elephant whale".split()
NUM = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty "
       "twenty-one twenty-two twenty-three twenty-four").split()
PLURAL = {"mouse": "mice", "foot": "feet", "tooth": "teeth", "child": "children", "man": "men", "woman": "women", "goose": "geese", "sheep": "sheep",
          "leaf": "leaves", "wolf": "wolves", "dog": "dogs", "box": "boxes", "baby": "babies", "knife": "knives", "cat": "cats", "fish": "fish"}


class Chat:
    def __init__(self, g, teller, drill=False):
        self.g, self.teller, self.drill = g, teller, drill

    def fact(self):
        """One factual question and its true answer."""
        g = self.g
        k = g.rng.random()
        if self.drill and g.chance(0.5):
            k = g.pick([0.5, 0.5, 0.5, 0.5, 0.5, 0.2, 0.85])     # sums, colours, sizes
        if k < 0.16:
            c = g.pick(list(CAPITALS)); a = CAPITALS[c]
            q = g.pick([f"What is the capital of {c}?"] * 3 + [f"What's the capital of {c}?", f"Tell me the capital of {c}.", f"Which city is the capital of {c}?",
                        f"Do you know the capital of {c}?", f"And the capital of {c}?", f"Can you tell me the capital of {c}?"])
            if g.chance(0.15):
                q, r = g.pick([f"{a} is the capital of which country?", f"What country has {a} as its capital?"]), f"{a} is the capital of {c}."
            else:
                r = g.pick([f"The capital of {c} is {a}.", f"{a} is the capital of {c}."])
        elif k < 0.26:
            t = g.pick(list(COLOURS)); c = COLOURS[t]; w = g.pick(["colour", "colour", "color"])
            if g.chance(0.3):
                o = g.pick(["red", "green", "blue", "yellow", "white", "black", "pink", c, c, c])
                q, r = f"Is {t} {o}?", (f"Yes, {t} is {c}." if o == c else f"No, {t} is {c}.")
            else:
                q, r = g.pick([f"What {w} is {t}?"] * 3 + [f"Tell me the {w} of {t}.", f"What is the {w} of {t}?", f"Which {w} is {t}?"]), f"{t} is {c}."
        elif k < 0.40:
            a, b = g.pick(OPPOSITE)
            q = g.pick([f"What is the opposite of {a}?"] * 3 + [f"Tell me the opposite of {a}.", f"What's the opposite of {a}?", f"Give me the opposite of {a}."])
            r = f"The opposite of {a} is {b}."
        elif k < 0.62:
            return self.sum()
        elif k < 0.66:
            a = g.pick(list(SOUNDS))
            q, r = g.pick([f"What does a {a} say?", f"What sound does a {a} make?"]), f"A {a} says {SOUNDS[a]}."
        elif k < 0.70:
            a = g.pick(list(BABIES))
            q, r = g.pick([f"What is a baby {a} called?", f"What do you call a baby {a}?"]), f"A baby {a} is called a {BABIES[a]}."
        elif k < 0.74:
            a = g.pick(list(LEGS))
            q, r = f"How many legs does a {a} have?", f"A {a} has {LEGS[a]} legs."
        elif k < 0.80:
            a = g.pick(list(IS_A))
            q, r = g.pick([f"What is a {a}?"] * 3 + [f"Tell me what a {a} is.", f"Do you know what a {a} is?"]), f"A {a} is {IS_A[a]}."
        elif k < 0.84:
            L, w = g.pick([(DAYS, "day"), (MONTHS, "month")]); i = g.rng.randrange(len(L))
            if g.chance(0.7):
                q, r = g.pick([f"What {w} comes after {L[i]}?", f"Which {w} comes after {L[i]}?"]), f"{L[(i + 1) % len(L)]} comes after {L[i]}."
            else:
                q, r = g.pick([f"What {w} comes before {L[i]}?", f"Which {w} comes before {L[i]}?"]), f"{L[i - 1]} comes before {L[i]}."
        elif k < 0.87:
            i, j = g.rng.sample(range(len(SIZES)), 2)
            w = g.pick(["bigger", "smaller"]); x = SIZES[max(i, j) if w == "bigger" else min(i, j)]; y = SIZES[min(i, j) if w == "bigger" else max(i, j)]
            q, r = f"Which is {w}, a {SIZES[i]} or a {SIZES[j]}?", f"A {x} is {w} than a {y}."
        elif k < 0.89:
            a = g.pick(list(PLURAL))
            q, r = g.pick([f"What is the plural of {a}?", f"One {a}, two what?"]), f"The plural of {a} is {PLURAL[a]}."
        else:
            qs = g.pick(list(QA))
            q, r = g.pick(qs.split("|")), QA[qs]
        return tidy(q), tidy(r)

    def sum(self):
        g = self.g
        a, b = g.rng.randrange(13), g.rng.randrange(13)
        if g.chance(0.35):
            a, b = max(a, b), min(a, b)
            op, w, c = "-", "minus", a - b
        else:
            op, w, c = "+", "plus", a + b
        if g.chance(0.25):
            return f"What is {NUM[a]} {w} {NUM[b]}?", tidy(f"{NUM[a]} {w} {NUM[b]} is {NUM[c]}.")
        q = g.pick([f"What is {a} {op} {b}?"] * 3 + [f"What is {a} {w} {b}?", f"{a} {op} {b}", f"{a} {op} {b} =", f"How much is {a} {op} {b}?", f"Can you tell me what {a} {w} {b} is?"])
        return q, f"{a} {w} {b} is {c}."

    def talk(self):
        g = self.g
        if g.chance(0.22):
            return g.choose(g.pick(UNKNOWN_SPLIT)), g.pick(DUNNO)
        k = g.pick(list(SMALL))
        return g.pick(k.split("|")), g.pick(SMALL[k].split("|"))

    def ask_story(self):
        """A request that names (or does not name) the hero and the object."""
        g, t = self.g, self.teller
        tell = g.pick(["Tell me a story"] * 4 + ["Write a story", "Tell a story", "Can you tell me a story", "Write a short story", "Please tell me a story", "I would like a story", "Tell me a bedtime story"])
        end = "?" if tell.startswith("Can") else g.pick([".", ".", ""])
        while True:
            hero = t.child() if g.chance(0.4) else t.animal()
            obj = g.pick(list(S.OBJECTS))
            if (S.zlib.crc32((hero["kind"] + obj).encode()) % 16 == 0) == t.held:
                break
        name = hero["name"] if g.chance(0.6) and not hero["animal"] else (
            f"a {hero['kind']}" if hero["name"].startswith("the ") else f"a {hero['kind']} {g.pick(['named', 'called'])} {hero['name']}")
        k = g.rng.random()
        if k < 0.45:
            return tidy(f"{tell} about {name} and a {obj}{end}"), t.story(hero, obj=obj, plot="solves")
        if k < 0.6:
            obj = g.pick(list(S.LOSE) + S.THINGS)
            return tidy(f"{tell} about {name} and a {obj.replace('_', ' ')}{end}"), t.story(hero, obj=obj, plot=g.pick(["lost", "found"]))
        if k < 0.75:
            return tidy(f"{tell} about {name}{end}"), t.story(hero, plot=g.pick([p for p in t.PLOTS if p != "race"]))
        if k < 0.9:
            plot, what = g.pick([("fear", "being brave"), ("share", "sharing"), ("lost", "something that was lost"), ("race", "a race"), ("birthday", "a birthday"),
                                 ("grow", "a seed"), ("honest", "telling the truth"), ("rescue", "a rescue"), ("sick", "being kind"), ("build", "building something"), ("solves", "helping a friend"), ("solves", "friends")])
            return f"{tell} about {what}{end}", t.story(plot=plot)
        return tell + end, t.story()

    def dialogue(self):
        """A list of (question, answer) turns."""
        g = self.g
        turns = []
        if g.chance(0.25):
            turns.append(self.talk())
        for _ in range(g.pick([1, 1, 2, 3])):
            turns.append(self.fact() if g.chance(0.8) else self.talk())
        if g.chance(0.1):
            turns.append(("Thank you!", "You are welcome!"))
        out = []
        for q, r in turns:
            x = g.rng.random()           # people type carelessly
            if x < 0.08:
                q = q.lower()
            elif x < 0.16:
                q = q.rstrip("?.!")
            out.append((q, r))
        return out

    def story_chat(self):
        g = self.g
        turns = [self.talk()] if g.chance(0.1) else []
        turns.append(self.ask_story())
        if g.chance(0.1):
            turns.append(self.talk())
        return turns

    def paragraph(self):
        """Facts as plain running text."""
        return " ".join(self.fact()[1] for _ in range(self.g.pick([2, 3, 4])))


UNKNOWN_SPLIT = []
depth = 0
for piece in UNKNOWN.split("|"):          # split on | outside brackets only
    if depth > 0:
        UNKNOWN_SPLIT[-1] += "|" + piece
    else:
        UNKNOWN_SPLIT.append(piece)
    depth += piece.count("[") - piece.count("]")
