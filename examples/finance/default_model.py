"""Who pays a credit-card bill late in September? A logistic regression on what the bank knew in April, and how well it ranks.

A block is about a hundred customers. Where all of them paid in time (or late), fitting raises, and the block counts as the defaults
of the job file: coefficients of 0 and an AUC of 0.5, which is what somebody without the data would say.
"""

import numpy as np
from banyan.frames import to_pandas
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score


def analyse(tables, params):
    cards = to_pandas(tables["credit_cards"])
    late = cards["late_september"]
    # Scaled so that one step of each is a step that a credit officer would speak of, and effects are of one size.
    features = np.column_stack(
        [
            cards["late_april"],
            np.log2(1 + cards["bill_april"].clip(lower=0) / 10),  # about one more for twice the bill
            (cards["age"] - 40) / 10,
        ]
    )
    model = LogisticRegression(C=1 / params["penalty"])
    ranking = cross_val_score(model, features, late, cv=5, scoring="roc_auc")
    return {"coefficients": model.fit(features, late).coef_[0], "auc": ranking.mean()}
