"""This is where `python -m edge_agent.cli` begins."""

from edge_agent.cli import main

main()
