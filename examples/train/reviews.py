"""Review sentences with a sentiment label: lexicon, aspects, negation, contrast, intensifiers."""
import zlib
from grammar import Grammar, tidy
from stories import OBJECTS, THINGS

POS = ("good great excellent wonderful superb fantastic amazing brilliant lovely perfect delightful outstanding terrific marvellous splendid "
       "impressive remarkable beautiful charming enjoyable pleasant satisfying exceptional fabulous incredible stunning magnificent first-class flawless "
       "memorable nice fine solid special refreshing gorgeous elegant spectacular phenomenal awesome admirable faultless glorious heavenly joyful "
       "unforgettable world-class tasteful thoughtful stylish inspiring sensational exquisite decent worthwhile ideal adorable graceful tremendous legendary sublime superior top-notch likeable winning blissful").split()
NEG = ("bad terrible awful horrible dreadful poor disappointing mediocre lousy appalling atrocious dull boring miserable pathetic ridiculous "
       "disgusting unpleasant annoying frustrating useless worthless shoddy weak tedious dismal abysmal unacceptable nasty ugly lame forgettable "
       "horrendous hopeless careless tasteless tiresome sloppy painful depressing embarrassing irritating unbearable shocking second-rate awkward "
       "joyless lifeless pointless messy tacky dire grim crude unimpressive laughable substandard unsatisfying grotesque woeful inferior inadequate offensive ghastly hateful rubbish insulting miserable sad disgraceful feeble").split()
# domain -> aspects, things, positive and negative adjectives that fit, and whole phrases
DOMAINS = {
    "film": dict(
        asp="plot story acting script ending music dialogue soundtrack cast direction camera_work opening beginning second_half first_half final_scene main_character humour pace "
            "lead_actor lead_actress villain romance action animation photography start middle last_act costumes effects jokes characters songs actors scenes performances".split(),
        thing="film movie drama comedy thriller documentary sequel series book novel show play story musical episode".split(),
        pos="gripping moving funny clever witty touching exciting believable original thrilling hilarious engaging heartwarming captivating entertaining powerful intelligent tense imaginative uplifting absorbing convincing subtle sharp fresh magical hypnotic warm real smart rewarding".split(),
        neg="predictable slow confusing silly cheesy wooden flat clumsy unoriginal shallow overlong cliched unconvincing unfunny stale dated bland forced empty stupid incoherent noisy lazy rushed childish pretentious sentimental unbelievable long-winded soulless".split(),
        ppos="made me cry with happiness|speaks to the heart|has stayed in my mind ever since|left me speechless|won me over|had me in stitches|flew by|is full of surprises|grows on you|is a feast for the eyes|held me from the first page|is better every time|brings the past to life|works on every level|kept the whole family entertained|made me think|will be remembered for years|hit me right in the heart|is a winner|had my heart racing|made me laugh out loud|moved me to tears|stayed with me for days|held my attention until the end|is a masterpiece|deserves every award|made me smile|never lost my interest|was a joy to watch|swept me away|took my breath away|sent a shiver down my spine|is a must-see|is hard to forget|surprised me at every turn|is worth seeing twice|is a triumph|is a gem|touched my heart|made my day|was over far too soon|had everyone laughing|shines from start to finish|made perfect sense|is hard to put down|kept me guessing",
        pneg="made me yawn|gave me a headache|never comes together|is a bore|has no heart|left me empty|is full of mistakes|is one long yawn|fails on every level|runs out of ideas|gets worse by the minute|was a chore|wasted a good cast|insulted my intelligence|is as exciting as watching grass grow|takes forever to get going|should never have been made|has been done better before|made my head hurt|gets old quickly|loses its way|dragged|put me to sleep|bored me to tears|made no sense|was a waste of time|fell flat|dragged on forever|lost my interest after ten minutes|is a mess|is a disaster|left me cold|made me want to leave|was hard to sit through|ruined the evening|never got going|felt like a bad joke|was painful to watch|is full of holes|went nowhere|insults the viewer|is a letdown|did not make me laugh once|made me look at my watch|is best avoided|drags badly|is a failure|tried my patience|never came to life",
        ipos="I would see it ten more times|I laughed until I cried|I cried at the end because it was so moving|every character felt like a friend|I did not want it to end|I left the cinema with a smile|I read it in one night|I was hooked from the first minute|I can not wait to see it again|the whole cinema clapped|time flew by|I could not stop laughing|I could not look away",
        ineg="I walked out after half an hour|I fell asleep in the middle|I nearly fell asleep|I was longing for the credits|I gave up after twenty minutes|I want those two hours back|I did not care about anyone in it|I kept looking at my watch|half the audience left early|nothing happens for two hours|I have no idea what it was about|I turned it off|I stopped reading after a few pages|I could not finish it|two hours of my life are gone",
    ),
    "food": dict(
        asp="food meal soup bread pizza pasta steak fish chicken salad dessert cake coffee tea wine sauce breakfast dinner lunch menu curry rice burger cheese starter main_course ice_cream dish sandwich beer meat chips vegetables noodles portions drinks eggs pancakes".split(),
        thing="restaurant cafe meal dinner lunch bakery place pub breakfast dish bar pizzeria snack".split(),
        pos="delicious tasty fresh crispy juicy tender rich creamy flavourful well-seasoned hot generous yummy mouth-watering light homemade aromatic appetising scrumptious filling perfectly_cooked full_of_flavour succulent fluffy moist".split(),
        neg="cold bland greasy soggy burnt stale overcooked undercooked dry salty watery tough rubbery flavourless oily raw sour rotten mushy inedible chewy lukewarm tiny overpriced too_salty too_sweet half_frozen hard gristly limp".split(),
        ppos="was a feast|warmed me up|was better than at home|was made with love|came with a smile|made my mouth water|was gone in a minute|was hot and fresh|had everyone at the counter talking|is the reason we come here|tasted as good as it looked|made the evening perfect|melted in my mouth|was cooked to perfection|tasted like home|was full of flavour|was excellent value|was the best part of the day|tasted heavenly|came quickly and hot|was a real treat|smelled wonderful|disappeared within minutes|made us come back the next day|was simply divine|hit the spot|was big enough for two",
        pneg="was hardly warm|was as hard as a rock|had gone off|came out of a tin|made me feel sick|was full of bones|was nearly raw|was thin and watery|cost far too much|took ages|was dry as dust|smelled off|looked old|was a joke|was spoiled by too much salt|tasted of soap|tasted of plastic|had about as much taste as paper|tasted like cardboard|made me ill|arrived cold|was swimming in fat|had a hair in it|smelled strange|was not cooked through|came an hour late|had no taste|was far too expensive|was burnt on one side|went straight into the bin|left a bitter taste|upset my stomach|was sent back to the kitchen|had no flavour",
        ipos="I cleaned my plate|everyone asked for more|we ordered a second helping|I dream about that sauce|the chef knows what he is doing|my mouth waters when I think of it|we ate every crumb|I could eat here every day|it is our favourite place in town|my children asked for seconds",
        ineg="I left most of it on the plate|we went home hungry|I was sick all night|I found a hair in my soup|we sent it back twice|nobody finished their plate|I could not eat it|it cost a fortune and we were still hungry|the kitchen forgot our order|I had to throw it away",
    ),
    "product": dict(
        asp="battery screen sound keyboard camera design quality material handle fit colour price software app fabric zip lid motor cable charger packaging size display build instructions manual buttons speakers headphones shoes wheels lens remote strap seams settings pages".split(),
        thing="phone laptop product jacket watch toy bag chair lamp vacuum_cleaner kettle speaker tablet bike tent printer camera mattress blender backpack radio toaster game gadget shirt coat desk pan".split(),
        pos="reliable sturdy durable comfortable handy practical useful easy_to_use well-made bright fast quiet light robust user-friendly accurate soft powerful crisp affordable smooth waterproof strong long-lasting simple versatile efficient sleek cosy clear solid neat responsive".split(),
        neg="flimsy cheap fragile broken faulty unreliable uncomfortable slow noisy heavy scratched defective overpriced badly_made hard_to_use loose dim inaccurate stiff weak complicated blurry leaky wobbly rough unusable confusing scratchy ill-fitting clunky damaged loud incomplete".split(),
        ppos="has never let me down|is light and strong|looks great on the wall|holds a charge for days|made my work easier|survived a fall|starts at the first try|is quick to learn|feels soft on the skin|keeps its shape|arrived early and well packed|was delivered the next day|is just what I needed|does the job|goes with everything|is a great gift|can be folded in seconds|sounds clear and warm|cleans well|works like a charm|works perfectly|lasts all day|is easy to set up|still looks like new after a year|does exactly what it should|fits perfectly|saved me a lot of time|is excellent value|is great value for money|exceeded my expectations|makes life easier|feels solid in the hand|runs without a problem|is built to last|looks even better in real life|keeps the cold out|is a pleasure to use|is easy to clean|was a bargain|never let me down|is a joy to use|solved my problem",
        pneg="came apart in my hands|gave up after a few days|makes a terrible noise|burned my hand|is cracked|is missing a part|went up in smoke|cannot be repaired|hurts after ten minutes|cuts into my skin|would not close|came with a broken lid|shrank in the wash|has a short cable|stopped charging|turned out to be fake|froze again and again|rattles|got stuck|drips all over the place|looks cheap|feels cheap|ruined my carpet|failed on the first day|falls over all the time|was dead on arrival|smells of glue|never charges fully|broke|broke the day it came|died|broke after two days|stopped working within a week|fell apart|does not work|never worked properly|died after a month|is a waste of money|arrived damaged|leaks everywhere|came without instructions|does not fit|looks nothing like the picture|gets hot and smells|keeps crashing|is not worth the price|let me down|breaks all the time|had parts missing|lost its colour after one wash|came in the wrong size|hurts my hands|is rubbish|would not turn on|refuses to charge|tore on day one|scratches at once|ended up in the bin",
        ipos="I use it every day|I bought a second one for my sister|I would buy it again|best purchase of the year|it is the best thing I have bought in years|my kids take it everywhere|I can not imagine life without it|setting it up took only a minute|buy it, you will not regret it|buying it was the right choice|my son adores it|it has never failed me",
        ineg="I want my money back|I sent it back the next day|I had to return it|do not buy this|worst purchase of the year|save your money|I wish I had not bought it|I regret buying it|half of the parts were missing|I threw it away after a week|it was a complete waste of money|I asked for a refund|stay away from this one|please bring back the old version|it lasted only a week",
    ),
    "service": dict(
        asp="service staff room bed bathroom hotel reception waiter waitress manager support delivery team view garden pool location driver guide cleaning shower atmosphere garage doctor nurse shop website booking hairdresser help_desk lobby wifi rooms beds owners people waiters seats toilets towels walls".split(),
        thing="hotel shop stay visit company trip tour hostel salon garage clinic airline place holiday gym bank store evening experience journey".split(),
        pos="friendly helpful kind polite clean spotless quick attentive comfortable welcoming professional fast cosy quiet warm patient efficient courteous peaceful spacious honest punctual generous reasonable caring cheerful relaxing bright knowledgeable obliging prompt safe modern tidy".split(),
        neg="rude unfriendly slow dirty noisy unhelpful impolite filthy cold shabby incompetent arrogant late grumpy cramped smelly chaotic rushed dishonest expensive uncomfortable dark damp impatient lazy dusty careless unprofessional crowded hostile indifferent disorganised unsafe stained".split(),
        ppos="gave us good advice|waited for us|made us laugh|listened and helped|brought water for the dog|picked us up at night|called back the same day|replied within the hour|paid for the damage|let us stay longer|explained everything clearly|never lost patience|surprised us with flowers|was a great help|looked after us well|got us there safely|repaired my bike for free|found my lost bag|took away all my worries|took my breath away|treated us like guests of honour|went out of their way to help|could not do enough for us|sorted everything out in no time|answered every question|was always there with a smile|made our stay special|took great care of us|arrived right on time|came earlier than promised|fixed everything at once|found us a quieter place|knew exactly what we needed|treated us like family|was worth the trip|made my day|helped us with a smile|was ready when we came|left nothing to be desired",
        pneg="made me wait|was late again|would not listen|laughed at us|blamed us|broke my suitcase|damaged my car|left us waiting|never turned up|gave us the wrong room|took our money and ran|did nothing about it|would not give us a refund|got everything wrong|spoiled our evening|talked on the phone all the time|pushed us out of the door|stole from us|put us on hold again and again|never called back|was out of order|was full of insects|was falling apart|charged us for nothing|treated us like dirt|ignored us|kept us waiting for an hour|never called me back|shouted at us|lost my booking|sent me the wrong bill|was nowhere to be seen|did not care|would not help us|hung up on me|arrived two hours late|forgot our order|made us feel unwelcome|smelled of smoke|had not been cleaned|treated us badly|never apologised|lied to me|sent the wrong item|ruined our holiday|overcharged us|cancelled at the last minute|took weeks to reply|got lost twice|left us standing in the rain|kept me on hold for an hour",
        ipos="we slept like babies|we will be back next year|I felt welcome at once|we did not want to leave|I can not fault them|they thought of everything|it took them a moment to help|the whole family felt cared for|everything went smoothly|they even gave us a free drink|they fixed it while I waited|no complaints at all",
        ineg="we got no sleep|nobody answered the phone|we left a day early|there was no apology|I waited for weeks|I am still waiting for my refund|there was mould on the walls|they wanted extra money for everything|we heard every noise from the street|we had to clean it ourselves|my parcel never arrived|nobody cared|they sent me away|I felt cheated|the heating did not work",
    ),
}
ADV_POS = "really very absolutely truly incredibly wonderfully so extremely simply surprisingly totally just remarkably pretty quite always beautifully".split()
ADV_NEG = "really very absolutely truly incredibly terribly so extremely simply painfully totally just awfully pretty quite always far_too horribly".split()
LOVE = "loved adored enjoyed really_enjoyed liked really_liked appreciated admired absolutely_loved was_impressed_by was_delighted_with was_thrilled_with fell_in_love_with was_happy_with was_very_pleased_with".split()
HATE = "hated disliked could_not_stand despised really_disliked absolutely_hated was_disappointed_by was_bored_by was_annoyed_by was_let_down_by was_unhappy_with was_disgusted_by regretted was_shocked_by got_tired_of".split()
GENERAL_POS = ("I enjoyed every minute|I enjoyed it very much|I will order again|I can only say good things about it|give it a try|do yourself a favour and go|a success|a winner|a joy from start to end|one of my favourites|I am a fan|I was not disappointed|I would happily pay more|this was a lucky find|go and see for yourself, it is great|a big thank you|thank you so much|perfect in every way|everything was fine|everything was just right|it was a pleasure|I had great fun|great fun|I wish there were more like this|you can not go wrong with it|it brightened my day|I was happy|we were happy with it|we left with a smile|without any problem|no problems|zero problems|better than all the others|it gets better and better|a lovely surprise|a great find|money could not be better spent|a must|it won my heart|love at first sight|absolutely love it|highly recommended|I highly recommend it|I would recommend it to anyone|I will definitely come back|I can not recommend it enough|excellent value|five stars|ten out of ten|two thumbs up|what more could you want|"
               "I was pleasantly surprised|better than I expected|it exceeded all my hopes|I am a happy customer|I could not be happier|it could not be better|well done|keep up the good work|a real treat|a pure joy|nothing to complain about|"
               "I will be back|I am so glad I tried it|it made me happy|simply the best|I have nothing but praise|a hidden gem|I love it|we all loved it|everyone loved it|money well spent|full marks|a dream come true|thumbs up|hats off to them|I am impressed|"
               "we had a wonderful time|it was a great success|I would do it again tomorrow|you will love it|my new favourite|I searched for faults and found none|I was smiling all day|this is how it should be done|a masterpiece|a delight|no regrets|it never disappoints|the best I have had in years")
GENERAL_NEG = ("I suffered every minute|I did not enjoy it|I did not enjoy it one bit|I will not order again|I can only warn you|keep away|give it a miss|do yourself a favour and avoid it|a failure|a loser|a pain from start to end|I am not a fan|I was so disappointed|I would not take it for free|this was a mistake|a big mistake|see for yourself how bad it is|no thank you|wrong in every way|nothing was fine|everything went wrong|it was a pain|no fun|no fun at all|I wish I had known|you can only go wrong with it|it spoiled my day|I was furious|we were angry|we left in anger|nothing but problems|problems from day one|too many problems|worse than all the others|it gets worse and worse|a nasty surprise|a terrible choice|money could not be spent worse|a flop|it broke my heart to see such rubbish|I have complained twice|I am not coming back|they should be ashamed|this is a joke|I felt robbed|a scam|just no|not for me|nothing special|not what I ordered|not what I paid for|hate at first sight|absolutely hate it|I deserve my money back|they have lost a customer|I do not recommend it|I would not recommend it to anyone|I will never come back|not a second time|not worth the price|one star|zero stars|avoid at all costs|stay away|a complete waste of time|what a waste|what a letdown|"
               "I was bitterly disappointed|worse than I expected|I expected more|I expected much better|I am an unhappy customer|it could not be worse|nothing to write home about|a real shame|a pure nightmare|thumbs down|money down the drain|"
               "I will not be back|I wish I had stayed at home|it made me angry|simply the worst|I have nothing good to say|a total disaster|I hate it|we all hated it|nobody liked it|a rip-off|no thanks|do not bother|don't waste your money|skip it|look elsewhere|"
               "we had a terrible time|it was a complete failure|I would not do it again|you will regret it|I have never been so bored|I searched for good points and found none|I was angry all day|this is how it should not be done|a disgrace|a catastrophe|full of regrets|it never gets better|the worst I have had in years|I have seen better|I would rather stay at home|I am fed up")
NEUTRAL = ("we went there on [Friday|Sunday|Monday]|I bought it last [week|month|year]|I saw it with my [sister|brother|friend|wife|husband]|it was a [birthday|Christmas] present|we were four people|"
           "I read about it in the newspaper|my [friend|boss|neighbour] told me about it|it was our first visit|we stayed for [two|three] nights|I ordered it online|this is my second one|I watched it on a train|we came by car|it was a rainy day|I had a voucher")
# Words that turn a judgement round: "not good" is negative, "not bad at all" is positive.
FLIP = ["not {a}", "not {a}", "not {a} at all", "not at all {a}", "never {a}", "hardly {a}", "anything but {a}", "far from {a}", "not very {a}", "not really {a}", "not even remotely {a}", "not exactly {a}", "not {a} in any way", "by no means {a}", "in no way {a}"]
PLURAL = ("costumes effects jokes characters songs actors scenes performances chips vegetables noodles portions drinks eggs pancakes instructions buttons speakers headphones shoes wheels "
          "seams settings pages rooms beds owners people waiters seats toilets towels walls staff").split()


OTHER = [x.replace(" ", "_") for x in list(OBJECTS) + THINGS] + (
    "table village town street market friend boss neighbour uncle artist actor author director writer owner captain cook team player teacher school office "
    "train bus plane taxi bridge beach island museum gallery zoo festival concert lesson course party wedding game match race trip weekend idea version model "
    "sample letter mail email call answer question picture page chapter line role scene voice dance joke trick puzzle recipe butter rice jam juice water egg "
    "sausage spoon fork knife glass window kitchen bath sofa carpet curtain wall roof door button pocket sleeve collar heel sole brush soap cream perfume "
    "cushion pillow mirror drawer shelf tool hammer saw drill nail screw wire plug switch bulb fan heater fridge oven stove mixer mouse drive router cover").split()


class Reviews:
    """held: None (training), 'words' (held-out aspect/adjective pairs) or 'templates' (held-out templates)."""
    def __init__(self, seed, held=None):
        self.g, self.held = Grammar(seed), held

    def word(self, d, pos, asp=""):
        """An adjective of the wanted polarity; held-out pairs never meet in training."""
        g = self.g
        while True:
            w = g.pick((POS if pos else NEG) if g.chance(0.5) else d["pos" if pos else "neg"])
            if not asp or (zlib.crc32((asp + w).encode()) % 8 == 0) == (self.held == "words"):
                return w.replace("_", " ")

    def clause(self, d, pos, tail=True):
        """One clause that judges, with the given polarity."""
        g = self.g
        k = g.rng.random()
        asp = g.pick(d["asp"])
        if g.chance(0.12):                            # any other thing, so that the noun does not decide
            asp = g.pick(OTHER)
        the = g.pick(["the ", "the ", "the ", "the ", "its ", "their ", "this "]) if asp not in PLURAL else g.pick(["the ", "the ", "its ", "their "])
        was = g.pick(["was", "was", "is"]) if asp not in PLURAL else g.pick(["were", "were", "are"])
        a, name = self.word(d, pos, asp), asp.replace("_", " ")
        thing = g.pick(d["thing"]).replace("_", " ")
        p = "pos" if pos else "neg"
        if k < 0.26:
            adv = g.pick(ADV_POS if pos else ADV_NEG).replace("_", " ") + " " if g.chance(0.5) else ""
            if g.chance(0.12):
                was = g.pick(["looked", "seemed", "felt"]) if asp not in PLURAL else g.pick(["look", "seem", "felt"])
            return f"{the}{name} {was} {adv}{a}"
        if k < 0.42:                                  # negated opposite
            b = self.word(d, not pos, asp)
            flip = g.pick(FLIP).replace("{a}", b)
            if flip.startswith("not ") and was in ("was", "is") and g.chance(0.25):
                return f"{the}{name} {was}n't {flip[4:]}"
            return f"{the}{name} {was} {flip}"
        if k < 0.50:
            v = g.pick(LOVE if pos else HATE).replace("_", " ")
            if g.chance(0.3):
                v = g.pick(["did not regret", "did not mind", "could not fault", "had no problem with"] if pos else
                           ["did not like", "did not enjoy", "didn't like", "did not care for", "was not impressed by", "was not happy with", "could not enjoy", "never liked", "had problems with"])
            who = g.pick(["I", "I", "I", "we", "my kids", "our guests", "my husband", "my wife", "everyone", "the whole family", "my mother", "people"])
            if who in ("we", "my kids", "our guests", "people"):
                v = v.replace("was ", "were ")
            return f"{who} {v} {the}{name}"
        if k < 0.58:
            s = g.pick(d["p" + p].split("|"))
            if g.chance(0.1):
                s += g.choose(" [from start to finish|from the first day to the last|from beginning to end|once more|again|every time|as always|this time|last night|yesterday]")
            it = g.pick(["it", f"the {thing}", f"this {thing}", f"the {g.pick([x for x in d['asp'] if x not in PLURAL])}".replace("_", " ")])
            return f"{it} {s}"
        if k < 0.66:
            return g.pick(d["i" + p].split("|"))
        if k < 0.69:
            this = g.choose(f"[it|this {thing}|this place|this|the {thing}|this one]")
            return g.choose(g.pick([f"I [can|would] recommend {this}", f"I can not recommend {this} [enough|highly enough]", f"buy {this}[| now|, you will be happy]", f"you should [buy|try|get] {this}", f"go for {this}",
                                    f"I would [buy|choose|take] {this} again", f"I am glad that I [bought|chose|tried] {this}", f"I never regretted {this}", f"[four|five|ten] stars [from|for] [me|us]", f"{this} deserves [five stars|praise|a prize]",
                                    f"I [do not|never] want to live without {this}", f"{this} wins", f"there is nothing better than {this}"] if pos else
                                   [f"I [can not|can't|would not|do not|could never] recommend {this}", f"I can not recommend {this} to [anyone|anybody]", f"do not [buy|get|try] {this}", f"don't [buy|get|try] {this}", f"nobody should [buy|try|get] {this}",
                                    f"I would not [buy|choose|take] {this} again", f"I am sorry that I [bought|chose|tried] {this}", f"I regretted {this}", f"[zero stars|one star|no stars] [from|for] [me|us]", f"{this} deserves [no stars|no praise|to be forgotten]",
                                    f"I can live without {this}", f"{this} loses", f"there is nothing worse than {this}", f"I gave up on {this}", f"I gave up after [a week|two days|an hour|ten pages]"]))
        if k < 0.74:
            return g.pick((GENERAL_POS if pos else GENERAL_NEG).split("|"))
        if k < 0.80:
            w = g.pick(["best", "finest", "nicest", "greatest", "loveliest"] if pos else ["worst", "poorest", "ugliest", "dullest", "saddest"])
            return g.pick([f"this is the {w} {thing} I have ever [seen|had|known]", f"one of the {w} things I have [seen|tried] this year", f"it is the {w} {thing} in [town|years|the world]",
                           f"the {w} {thing} I know", f"one of the {w} {thing}s ever", f"{w} {thing} ever"])
        if k < 0.86:
            return g.pick([f"what a {a} {thing}", f"a {a} {thing}", f"such a {a} {thing}", f"it was a {a} {thing}", f"a {thing} with {a} {name}", f"{a} {name}", f"a truly {a} {thing}", f"we had a {a} {thing}"])
        if k < 0.92:
            b = self.word(d, pos, asp)
            return g.pick([f"the {thing} is {a} and {b}", f"{a} and {b}", f"it is {a}, {b} and simply {self.word(d, pos, asp)}", f"{a}, {b} and {self.word(d, pos, asp)}", f"it was both {a} and {b}"])
        if k < 0.96:
            return g.pick(([f"no {self.word(d, False)} {name} here", "not a single weak point", "nothing was wrong", f"nothing {self.word(d, False)} about it", "there is nothing to criticise", f"I have never seen a better {thing}", f"there was nothing {self.word(d, False)} about the {name}"]
                           if pos else [f"no {self.word(d, True)} {name} here", "not a single good point", "nothing was right", f"nothing {self.word(d, True)} about it", "nothing in it held me", f"I have never seen a worse {thing}", f"there was nothing {self.word(d, True)} about the {name}", f"no flavour, no charm, no {name}", f"nothing worked"]))
        return g.pick([f"it makes me {g.pick(['happy', 'smile', 'laugh', 'feel good'])}", f"I am {g.pick(['happy', 'delighted', 'pleased', 'thrilled', 'satisfied', 'grateful', 'impressed'])} with the {name}"] if pos else
                      [f"it makes me {g.pick(['sad', 'angry', 'cry', 'feel sick'])}", f"I am {g.pick(['unhappy', 'disappointed', 'angry', 'upset', 'dissatisfied', 'fed up', 'annoyed'])} with the {name}"])

    def noun_phrase(self, d, pos):
        asp = self.g.pick(d["asp"])
        return f"the {self.word(d, pos, asp)} {asp.replace('_', ' ')}"

    def sentence(self):
        g = self.g
        d = DOMAINS[g.pick(list(DOMAINS))]
        pos = g.chance(0.5)
        c = lambda p=pos: self.clause(d, p)
        n = lambda: g.choose(g.pick(NEUTRAL_SPLIT))
        best = "best" if pos else "worst"
        turn = "hate" if pos else "love"
        thing = g.pick(d["thing"]).replace("_", " ")
        o = lambda: c(not pos)                      # the concession: a clause of the other polarity
        np = lambda: self.noun_phrase(d, not pos)
        simple = [c, c, c, c, lambda: f"{c()}.", lambda: f"{c()}[!| indeed| for sure|, really|, I think|, in my opinion]",
                  lambda: f"[honestly|frankly|overall|in short|all in all|without a doubt|for me|in the end|to be honest], {c()}",
                  lambda: f"{c()} and {c()}", lambda: f"{c()}, and {c()}", lambda: f"{c()}. {c()}", lambda: f"{c()}, {c()}", lambda: f"{c()} and then {c()}",
                  lambda: f"{c()}, {c()} and {c()}", lambda: f"{n()}. {c()}", lambda: f"{n()} and {c()}", lambda: f"{c()}. {n()}",
                  lambda: f"I [think|feel|must say|know] that {c()}", lambda: f"{c()} because {c()}", lambda: f"{c()}, so {c()}", lambda: f"everyone [says|agrees] that {c()}",
                  lambda: f"my [sister|brother|friend|neighbour] [said|told us] that {c()}", lambda: f"my [mother|father|boss] is right[:| that] {c()}", lambda: f"it is true that {c()}",
                  lambda: f"no question, {c()}", lambda: f"[he was|she was|we were|you were] right to say that {c()}", lambda: f"I was told that {c()}, and it is true",
                  lambda: f"[fair and honest|plain truth]: {c()}", lambda: f"[tonight|after a month|on the first day|this summer], {c()}", lambda: f"{c()} from [the first minute to the last|start to finish]"]
        contrast = [lambda: f"{o()} but {c()}", lambda: f"{o()}, but {c()}", lambda: f"{o()}, but {c()}", lambda: f"although {o()}, {c()}", lambda: f"although {o()}, {c()}",
                    lambda: f"{o()}, yet {c()}", lambda: f"{o()}. [However|Nevertheless], {c()}", lambda: f"{c()} even though {o()}", lambda: f"despite {np()}, {c()}",
                    lambda: f"I [expected|wanted] to {turn} it, but {c()}", lambda: f"while {o()}, {c()}", lambda: f"it is not the {best} {thing} ever, but {c()}",
                    lambda: f"though {o()}, {c()}", lambda: f"{c()}, [though|although] {o()}", lambda: f"{c()} [despite|in spite of] {np()}", lambda: f"in spite of {np()}, {c()}",
                    lambda: f"{o()}; still, {c()}", lambda: f"{o()}, still {c()}", lambda: f"{o()}. But [in the end |]{c()}", lambda: f"[at first|first] {o()}, but [then|later] {c()}",
                    lambda: f"yes, {o()}, but {c()}", lambda: f"even if {o()}, {c()}", lambda: f"even though {o()}, {c()}"]
        held = [lambda: f"though {o()}, in the end {c()}", lambda: f"{c()}, despite {np()}", lambda: f"my friends told me that {c()}, and they were right",
                lambda: f"believe me, {c()}", lambda: f"after [one visit|two weeks] I can say that {c()}", lambda: f"{c()}; {c()}", lambda: f"as for me, {c()}",
                lambda: f"{o()}. Still, {c()}", lambda: f"there is no doubt that {c()}", lambda: f"{c()}, and on top of that {c()}"]
        s = g.pick(held if self.held == "templates" else (simple if g.chance(0.6) else contrast))()
        s = tidy(g.choose(s))
        if s[-1] not in ".!?":
            s += g.pick([".", ".", ".", "!", ""])
        return s, pos


NEUTRAL_SPLIT, depth = [], 0
for piece in NEUTRAL.split("|"):          # split on | outside brackets only
    if depth > 0:
        NEUTRAL_SPLIT[-1] += "|" + piece
    else:
        NEUTRAL_SPLIT.append(piece)
    depth += piece.count("[") - piece.count("]")


if __name__ == "__main__":
    for h in (None, "words", "templates"):
        r = Reviews(3, h)
        for _ in range(15):
            s, p = r.sentence()
            print("+" if p else "-", s)
        print()
