"""Lines of tables: what LaTeX and Markdown take for their own is escaped, whichever table it stands in."""

from __future__ import annotations

import re

from hvae_mnn.reproduction.markup import escaped, latex_table, markdown_table, unmarked


def test_latex_has_no_special_character_left():
    text = escaped(r"a_b 5 % & {c} #1 $ ^ ~ \x <unk> | ± † –")
    bare = re.sub(r"\\(?:text\w+\{\}|[&%$#_{}])|\$(?:\\pm|\\dagger|[<>|])\$", "", text)
    assert not re.search(r"[&%$#_{}^~\\<>|±†–]", bare)
    assert escaped(r"\_") == r"\textbackslash{}\_"
    assert escaped("本文: 5 ± 1") == r"HSR-VAE: 5 $\pm$ 1"
    assert unmarked("**bold** and `code`") == "bold and code"


def test_a_table_has_as_many_cells_in_every_line():
    rows = [("a|b", "<unk>"), ("c", "1")]
    lines = markdown_table(("text", "number"), rows, ("text",))
    assert lines == ["| text | number |", "| --- | ---: |", r"| a\|b | &lt;unk> |", "| c | 1 |"]
    plain = latex_table("5 %", "lr", ("text", "number"), rows)
    assert (plain[0], plain[-1]) == (r"\begin{table}", r"\end{table}")
    assert r"  \caption{5 \%}" in plain
    assert sum(line.endswith(r" \\") for line in plain) == 3
    wide = latex_table("x", "lr", ("text", "number"), rows, foot=("sum", "2"), wide=True)
    assert wide[0] == r"\begin{table*}"
    assert wide.index(r"    sum & 2 \\") == len(wide) - 4
    assert wide.count(r"    \midrule") == 2
