"""The prompt format as a Jinja template: ``<|prompt|>{question}</s><|answer|>{answer}</s>``, turn after turn."""

from __future__ import annotations

from collections.abc import Iterable

PROMPT, ANSWER = "<|prompt|>", "<|answer|>"
"""What a turn of the user's and of the model's begins with: text of several tokens, as in the published models."""


def make_template(eos: str, control: Iterable[str]) -> str:
    """Write the template of a vocabulary, in plain Jinja, such that any program that has one renders it alike.

    Contents are stripped. The name of a control token in a content gets a blank into it, so that it stays text: a
    removal could be outwitted by one name inside another. The names are written out, as not every program gives a
    template more than the eos.

    Args:
        eos: what ends each turn.
        control: the names of all control tokens, the eos among them; `why_not_escaped` must be None of each.
    """
    escaped = "".join(f" | replace({_quoted(name)}, {_quoted(escape(name))})" for name in control)
    return _TEMPLATE.replace("ESCAPED", escaped).replace("EOS", _quoted(eos))


def escape(name: str) -> str:
    """Return the name of a control token as text."""
    return f"{name[:1]} {name[1:]}"


def why_not_escaped(name: str) -> str | None:
    """Say what keeps a blank in each place where a control token's name is found from leaving none of that name behind.

    Returns:
        The reason in a few words; None if nothing does.
    """
    if len(name) < 2:
        return "it is a single character"
    if any(character.isspace() for character in name):
        return "it has a blank in it"
    if any(name.startswith(name[-length:]) for length in range(1, len(name))):
        return "it ends as it begins"
    return None


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] != ['user', 'assistant'][loop.index0 % 2] -%}
{{- raise_exception('Turns must alternate: user, assistant, user, ...; there is no system role') -}}
{%- endif -%}
{%- set text = message['content']ESCAPED | trim -%}
{%- if message['role'] == 'user' -%}
{{- '<|prompt|>' + text + EOS -}}
{%- else -%}
{{- '<|answer|>' + text + EOS -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|answer|>' -}}
{%- endif -%}
"""
