"""scripts/template_random.py - compares our chat templates with the original on random templates.

    python3 scripts/template_random.py CLI [COUNT] [SEED]

CLI is tests/support/template_cli.c built as docs/TEMPLATES.md says; the original is scripts/template_oracle.py. Half of the
templates are one expression, half are statements with all kinds of white space; most make no sense, and then both must refuse.
Where only ours refuses it is counted, with the reason; exit status 0 only if no text differs.
"""
import json
import os
import random
import subprocess
import sys

cli, count, seed = sys.argv[1], int((sys.argv[2:] or ["5000"])[0]), int((sys.argv[3:] or ["1"])[0])
r = random.Random(seed)

VARS = {"s": "Hello World", "u": "naïve 👍 é", "l": [3, 1, 2], "d": {"b": 1, "a": [1, "x", None, True, 2.5]}, "n": None, "e": "",
        "z": [], "f": 1.5, "i": 7, "t": True,
        "msgs": [{"role": "user", "content": "a", "n": {"k": 1}}, {"role": "assistant", "content": "b", "n": {"k": 2}},
                 {"role": "user", "content": "C"}]}
ATOMS = """s u l d n e z f i t msgs nope 1 0 -1 2.5 'a' 'b' "" true false none [] {} [1,2] ['b','A'] {'a':1} (1,) ' x ' 3 '1'
msgs[0] d.a "\\n" msgs[0].n loop range(3)""".split()
FILTERS = """abs capitalize count default("q") d("q",true) dictsort first float indent(2) int items join(",") join last length list
lower map("upper") map(attribute="role") max min reject("none") rejectattr("n") replace("a","b") reverse round round(1) select
selectattr("role","equalto","user") sort sort(reverse=true) string sum title tojson tojson(indent=1) trim unique upper wordcount
select("string") map("string") indent(1,true) default([]) sort(attribute="content") trim("ab") replace("","-")""".split()
TESTS = ["boolean", "callable", "defined", "eq 1", "even", "false", "float", "gt 1", 'in [1,"a"]', "integer", "iterable", "lower",
         "mapping", "none", "number", "odd", "sequence", "string", "true", "undefined", "upper", "not none", "not string",
         "divisibleby 2", 'ne "a"', "le 2", "sameas none"]
MEMBERS = """upper() lower() strip() lstrip() rstrip("dl") split() split("l") split("o",1) rsplit("o",1) title() capitalize()
startswith("H") endswith(("d","x")) replace("l","L") replace("l","L",1) find("o") count("l") items() keys()|list values()|list
get("a") get("zz",1) splitlines() isdigit() isupper() join(["a","b"]) removeprefix("H") index(1) role content a b k length 0
a[0]""".split()
PLACES = ["0", "-1", "1:", "::-1", ":-1", ":2", "::2", "-2:", "5", "1:1", "2::-1", "none:1", "'a'", "'role'"]
OPS = "+ - * / // % ** ~ == != < <= > >= in and or".split() + ["not in"]


def part(depth):
    return r.choice(ATOMS) if r.random() < .5 else f"({expression(depth - 1)})"


def expression(depth):
    if depth <= 0:
        return r.choice(ATOMS)
    kinds = [lambda: f"{expression(depth - 1)} {r.choice(OPS)} {expression(depth - 1)}",
             lambda: f"({expression(depth - 1)})",
             lambda: f"{part(depth)}|{r.choice(FILTERS)}",
             lambda: f"{part(depth)} is {r.choice(TESTS)}",
             lambda: f"{part(depth)}.{r.choice(MEMBERS)}",
             lambda: f"{part(depth)}[{r.choice(PLACES)}]",
             lambda: f"not {expression(depth - 1)}",
             lambda: f"-{part(depth)}",
             lambda: f"{expression(depth - 1)} if {expression(depth - 1)} else {expression(depth - 1)}",
             lambda: f"[{expression(depth - 1)}, {expression(depth - 1)}]",
             lambda: "{" + r.choice(["1", "true", "'k'"]) + ": " + expression(depth - 1) + "}"]
    return r.choices(kinds, [22, 8, 25, 8, 10, 8, 4, 3, 5, 3, 4])[0]()


def blank():
    return r.choice(["", " ", "\n", "  \n ", "\t", "\n\n"])


def tag(text):
    return r.choice(["{%", "{%-", "{%", "{%+"]) + f" {text} " + r.choice(["%}", "-%}", "%}", "+%}"])


def statement(depth):
    kind = r.random()
    if depth <= 0 or kind < .35:
        return blank() + r.choice(["{{", "{{-"]) + f" {expression(r.randint(0, 2))} " + r.choice(["}}", "-}}"]) + blank()
    if kind < .45:
        return blank() + r.choice(["x", "é ", "  y"]) + blank() + r.choice(["", "{# c #}", "{#- c -#}", "\n  {# c #}\n"])
    if kind < .6:
        return (blank() + tag(f"if {expression(1)}") + statement(depth - 1) + tag("else") + statement(depth - 1) + tag("endif") + blank())
    if kind < .8:
        over = r.choice(["l", "msgs", "d", "u", "range(3)", expression(1)]) + r.choice(["", f" if {expression(1)}"])
        return (blank() + tag(f"for {r.choice('sxi')} in {over}") + statement(depth - 1) +
                r.choice(["", "{{ loop.index }}", "{{ loop.last }}{{ loop.previtem }}"]) + statement(depth - 1) + tag("endfor") + blank())
    if kind < .9:
        return tag(f"set {r.choice('sxl')} = {expression(2)}") + statement(depth - 1)
    return statement(depth - 1) + statement(depth - 1)


templates = [statement(3) if i % 2 == 0 else "{{ " + expression(r.randint(1, 3)) + " }}" for i in range(count)]
lines = "".join(json.dumps({"template": t, "vars": VARS, "now": 0}) + "\n" for t in templates)
oracle = os.path.join(os.path.dirname(os.path.abspath(__file__)), "template_oracle.py")


def render(*command):
    out = subprocess.run(command, input=lines, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


same = refused = different = 0
for template, ours, original in zip(templates, render(cli), render(sys.executable, oracle)):
    if ours.get("text") == original.get("text"):
        same += 1
    elif "error" in ours:
        refused += 1
        if os.environ.get("VERBOSE"):
            print(json.dumps(template, ensure_ascii=False), ours["error"], sep="\n  ")
    else:
        different += 1
        print(json.dumps(template, ensure_ascii=False), f"  original {original}", f"  ours     {ours}", sep="\n")
print(f"{count} random templates: {same} the same, {refused} refused by ours only, {different} with another text")
sys.exit(different != 0)
