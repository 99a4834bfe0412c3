"""The mesh of a face: where it lies, and when there is none."""

import hashlib

import cv2
import numpy as np
import pytest

from fakedetect.faces.mesh import MODEL, SHA256, FaceMesh

LANDMARKS = np.array([[143, 137], [177, 137], [160, 152], [147, 175], [173, 175]], float)  # of the face drawn below


@pytest.fixture
def photo(draw_face):
    image = np.full((320, 320, 3), (90, 120, 150), np.uint8)
    draw_face(image, 160, 142, 90)
    return image


def test_the_model_is_the_one_that_is_named():
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() == SHA256


@pytest.mark.parametrize("angle", [0, 35, -60])
def test_the_mesh_lies_on_the_face_and_turns_with_it(angle, photo):
    turn = cv2.getRotationMatrix2D((160, 160), angle, 1.0)
    turned = cv2.warpAffine(photo, turn, (320, 320), borderMode=cv2.BORDER_REPLICATE)
    marks = LANDMARKS @ turn[:, :2].T + turn[:, 2]
    mesh = FaceMesh().fit(turned, marks)
    assert mesh is not None and mesh.shape == (468, 3)
    upright = FaceMesh().fit(photo, LANDMARKS)[:, :2] @ turn[:, :2].T + turn[:, 2]
    assert np.linalg.norm(mesh[:, :2] - upright, axis=1).mean() < 4  # of 90 pixels
    chin, forehead = mesh[152, :2], mesh[10, :2]
    assert 60 < np.linalg.norm(chin - forehead) < 140


def test_a_mesh_that_contradicts_the_landmarks_is_none(photo):
    assert FaceMesh().fit(photo, LANDMARKS[[3, 4, 2, 0, 1]]) is None  # eyes where the mouth is
