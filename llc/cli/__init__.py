"""The command line: parse, call one library function, show. Heavy imports wait until a command needs them."""

from llc.cli import analyses, doctor, estimates, pages, runs, systems, trusting, whole
from llc.cli.group import main

__all__ = ["analyses", "doctor", "estimates", "main", "pages", "runs", "systems", "trusting", "whole"]
