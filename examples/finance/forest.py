"""Which loan applications go bad? A random forest on the application form; AUC by the trees that have not seen an applicant.

A block of applicants that were all good (or all bad) has no AUC: scikit-learn raises, and the block counts as the default of the
job file, 0.5, which is what a coin has.
"""

import pandas as pd
from banyan.frames import to_pandas
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

NUMBERS = ["seniority", "months", "age", "expenses", "income", "assets", "debt", "amount", "price"]
CATEGORIES = ["home", "marital", "records", "job"]


def analyse(tables, params):
    loans = to_pandas(tables["loan_applicants"])
    numbers = loans[NUMBERS].astype("float64")
    numbers = numbers.fillna(numbers.median()).assign(
        left_over=lambda form: form["income"] - form["expenses"] - form["amount"] / form["months"],
        financed=lambda form: form["amount"] / form["price"].clip(lower=1),
    )
    features = numbers.join(pd.get_dummies(loans[CATEGORIES]))
    bad = loans["status"] == "bad"
    forest = RandomForestClassifier(params["trees"], min_samples_leaf=5, oob_score=True, random_state=0)
    forest.fit(features, bad)
    return {"auc": roc_auc_score(bad, forest.oob_decision_function_[:, 1])}
