"""The page of a comparison: answers side by side, with marks that it hands out as a file. It loads nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from string import Template, ascii_uppercase

from custom_modules.comparison.answers import CRITERIA, MARKS, Answers

PAGE = "index.html"
MARKS_FILE = "marks.json"
_TEMPLATE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$count answers</title>
<style>
body { margin: 2rem auto; max-width: 96rem; padding: 0 1.5rem; color: #1f2933; background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem; }
h3 { font-size: .95rem; margin: 0 0 .4rem; overflow-wrap: anywhere; }
p { margin: .3rem 0 1rem; color: #52606d; }
pre { font: .9rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; margin: 0 0 .8rem; }
pre.prompt { color: #52606d; border-left: 3px solid #e4e7eb; padding-left: .8rem; }
.answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
.answer { border: 1px solid #e4e7eb; border-radius: .4rem; padding: .8rem; }
label { display: flex; justify-content: space-between; gap: .6rem; font-size: .9rem; margin: .15rem 0; }
button { font: inherit; padding: .4rem 1rem; }
</style>
<h1>$title</h1>
<p>$summary</p>
$prompts
<h2>Marks</h2>
<p>$advice</p>
<button id="save">Save $file</button>
<script>
const id = $id, name = "danube-marks-" + id;
const fields = [...document.querySelectorAll("select")];
let kept = {};
try { kept = JSON.parse(localStorage.getItem(name) || "{}"); } catch { }
for (const field of fields) {
  field.value = kept[field.name] || "";
  field.addEventListener("change", () => {
    kept[field.name] = field.value;
    try { localStorage.setItem(name, JSON.stringify(kept)); } catch { }
  });
}
document.getElementById("save").addEventListener("click", () => {
  const marks = fields.filter(field => field.value).map(field => {
    const [prompt, place, criterion] = JSON.parse(field.name);
    return {prompt, place, criterion, mark: Number(field.value)};
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify({page: id, marks}, null, 1)], {type: "application/json"}));
  link.download = "$file";
  link.click();
});
</script>
</html>
""")


def render_page(answers: Answers) -> str:
    """Return the page as HTML. Of a blind comparison it has no model's name, and each prompt's models in an order of
    their own."""
    count = f"{len(answers.prompts)} prompts, {len(answers.models)} models"
    who = "without their names" if answers.blind else "side by side"
    return _TEMPLATE.substitute(
        count=count,
        title=f"Answers {who}",
        summary=f"{count}; up to {answers.max_new_tokens} tokens each, seed {answers.seed}.",
        prompts="\n".join(_prompts(answers)),
        file=MARKS_FILE,
        id=json.dumps(answers.id),
        advice=f"Save them as a file, {MARKS_FILE}; <code>danube sample --marks {MARKS_FILE} --of FOLDER</code>, with "
        "the folder of this page, adds them up by model. Until then this browser keeps them.",
    )


def _prompts(answers: Answers) -> Iterator[str]:
    for number, prompt in enumerate(answers.prompts):
        yield f'<h2>{escape(prompt.name)}</h2>\n<pre class="prompt">{escape(prompt.text)}</pre>\n<div class="answers">'
        for place, model in enumerate(answers.order[number]):
            name = letter(place) if answers.blind else answers.models[model]
            yield f'<div class="answer"><h3>{escape(name)}</h3>\n<pre>{escape(answers.answers[number][model])}</pre>'
            yield from (_choice(number, place, criterion) for criterion in CRITERIA)
            yield "</div>"
        yield "</div>"


def _choice(number: int, place: int, criterion: str) -> str:
    options = "".join(f"<option>{mark}</option>" for mark in MARKS)
    name = escape(json.dumps([number, place, criterion]))
    return f'<label>{criterion}<select name="{name}"><option></option>{options}</select></label>'


def letter(place: int) -> str:
    """Return what a blind page calls the answer at a place: A to Z, then AA, AB and on."""
    first, last = divmod(place, len(ascii_uppercase))
    return (letter(first - 1) if first else "") + ascii_uppercase[last]
