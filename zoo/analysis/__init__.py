"""Reports on models and vectors: what attention does, which words cannot be predicted, which vectors are hubs.

`zoo.initialization_report` belongs here too.
"""

from zoo.analysis.hubness import HubnessReport, hubness

__all__ = ["HubnessReport", "hubness"]
