"""What a server offers: one detector, as GET /v1/detectors shows it."""

LIMITS = {"fake_from": 0.7, "real_below": 0.1, "max_fpr": 0.05, "max_fnr": 0.05, "name": "x", "chosen_on": "validation"}
JUDGE = {
    "name": "faces",
    "id": "0123456789ab",
    "model": "lite",
    "subject": "face",
    "trained_on": "drawn faces",
    "expectation": "It is unknown.",
    "left_out": None,
    "thresholds": LIMITS,
}
OFFERED = [{"name": "default", "default": True, "judges": [JUDGE]}]
