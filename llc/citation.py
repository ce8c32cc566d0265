"""How to cite llc, and what to cite beside it. `CITATION.cff` says the same to those who look for that."""

from typing import NamedTuple

from llc.version import library_version

YEAR = 2026


class Work(NamedTuple):
    """Something to cite.

    Attributes:
        key: by which BibTeX knows it.
        authors: as family and given names; a group has one name.
        year: of it.
        arxiv: its number there.
        why: what it is cited for.
    """

    key: str
    title: str
    authors: tuple[tuple[str, ...], ...]
    year: int
    arxiv: str = ""
    why: str = ""

    def bibtex(self) -> str:
        """An entry."""
        fields = {"title": f"{{{self.title}}}", "author": " and ".join(map(_bibtex_author, self.authors))}
        fields["year"] = str(self.year)
        if self.arxiv:
            fields |= {"eprint": self.arxiv, "archivePrefix": "arXiv", "url": f"https://arxiv.org/abs/{self.arxiv}"}
        else:
            fields |= {"version": library_version(), "note": "Python package, MIT licence"}
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
        return "\n".join([f"@{'misc' if self.arxiv else 'software'}{{{self.key},", *lines, "}"])

    def plain(self) -> str:
        """A line of a list of references."""
        authors = ", ".join(" ".join(reversed(author)) for author in self.authors)
        where = f"arXiv:{self.arxiv}" if self.arxiv else f"Version {library_version()}, Python package"
        return f"{authors} ({self.year}). {self.title}. {where}."


def _bibtex_author(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) > 1 else f"{{{names[0]}}}"


SOFTWARE = Work(
    "llc",
    "llc: local learning coefficients of checkpoint trajectories",
    (("The llc developers",),),
    YEAR,
)
BESIDE = (
    Work(
        "lau2023llc",
        "The Local Learning Coefficient: A Singularity-Aware Complexity Measure",
        (("Lau", "Edmund"), ("Furman", "Zach"), ("Wang", "George"), ("Murfet", "Daniel"), ("Wei", "Susan")),
        2023,
        "2308.12108",
        "for the local learning coefficient and its estimator",
    ),
    Work(
        "carroll2025dynamics",
        "Dynamics of Transient Structure in In-Context Linear Regression Transformers",
        (("Carroll", "Liam"), ("Hoogland", "Jesse"), ("Farrugia-Roberts", "Matthew"), ("Murfet", "Daniel")),
        2025,
        "2501.17745",
        "for the study of transient ridge, joint trajectory PCA and the tradeoff",
    ),
)


def citation() -> str:
    """Plain text and BibTeX, of llc and of what to cite beside it."""
    beside = [f"{work.plain()}\n  {work.why}" for work in BESIDE]
    text = ["To cite llc:", SOFTWARE.plain(), "Beside it, for the methods:", *beside, "BibTeX:"]
    return "\n\n".join([*text, *(work.bibtex() for work in (SOFTWARE, *BESIDE))])
