"""How much of a departure delay arrives? Least squares of arrival delay on departure delay and distance, and the mean.

A block is some forty aircraft with all their flights. One without a flown flight raises, or its answer is not a number: it counts as the
defaults of the job file.
"""

import statsmodels.formula.api as smf
from banyan.frames import to_pandas


def analyse(tables, params):
    flights = to_pandas(tables["flights"]).dropna(subset=["dep_delay", "arr_delay"])  # a cancelled flight has neither
    flights["miles"] = flights["distance"] / params["miles"]
    fit = smf.ols("arr_delay ~ dep_delay + miles", flights).fit()
    return {
        "per_minute": fit.params["dep_delay"],
        "per_1000_miles": fit.params["miles"],
        "mean_delay": flights["arr_delay"].mean(),
    }
