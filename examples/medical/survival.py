"""Kaplan-Meier: the share of patients without AIDS, death or a halved CD4 count at fixed times, by treatment.

A block is about eight patients, two of them on zidovudine alone. Where a block has nobody of one arm it says for that arm what the
job file gives as the default, since it knows no better; the other arm is still counted. An empty block has nobody of either.
"""

from banyan.frames import to_pandas
from lifelines import KaplanMeierFitter


def analyse(tables, params):
    trial = to_pandas(tables["actg175"])
    return {
        "zidovudine": without_event(trial[~trial["treat"]], params),
        "other_treatments": without_event(trial[trial["treat"]], params),
    }


def without_event(arm, params):
    if arm.empty:
        return [params["nobody"]] * len(params["days"])
    curve = KaplanMeierFitter().fit(arm["days"], event_observed=arm["cens"])
    return curve.survival_function_at_times(params["days"]).to_numpy()
