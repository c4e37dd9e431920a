"""The model itself: which features it takes, how it learns, and under which names others know it. Nothing here knows the platform."""

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

MODEL: Final = "purchase_model"
ALIAS: Final = "production"
"""MLflow's alias of the version that predictions are asked of."""

FEATURE_SET: Final = "user_features"
NUMBERS: Final = ("f_total_events_7d", "f_avg_session_sec_7d", "f_purchases_1d")
TEXTS: Final = ("f_last_country",)
FEATURES: Final = [f"{FEATURE_SET}:{name}" for name in (*NUMBERS, *TEXTS)]
LABEL: Final = "buys_tomorrow"


def service_name(version: str) -> str:
    """The Feast feature service through which a version of the model reads its features."""
    return f"{MODEL}_v{version}"


def inputs(rows: "pd.DataFrame | dict[str, Sequence[Any]]") -> pd.DataFrame:
    """Features in the one form that the model takes, from training rows or from an answer: numbers as floats, nulls as they are."""
    frame = pd.DataFrame(rows)
    return frame[[*NUMBERS, *TEXTS]].astype(dict.fromkeys(NUMBERS, "float64") | dict.fromkeys(TEXTS, "object"))


def trained(rows: pd.DataFrame) -> Pipeline:
    """A model that gives the probability of a purchase, learned from rows with features and label."""
    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    columns = make_column_transformer((numbers, list(NUMBERS)), (OneHotEncoder(handle_unknown="ignore"), list(TEXTS)))
    return make_pipeline(columns, LogisticRegression()).fit(inputs(rows), rows[LABEL])
