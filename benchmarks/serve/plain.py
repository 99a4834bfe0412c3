"""FastAPI's plainest upload endpoint with the same detector, as its tutorial has it: what `serve` is compared with.

`python -m benchmarks.serve.plain PORT`
"""

import io
import sys

import numpy as np
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

from fakedetect import Detector

app = FastAPI()
detector = Detector.load("photos", "cpu")


@app.get("/readyz")
def readyz() -> dict:
    return {}


@app.post("/score")
def score(files: UploadFile) -> dict:
    image = np.asarray(Image.open(io.BytesIO(files.file.read())).convert("RGB"))
    return {"p_fake": detector.score([image])[0].p_fake}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
