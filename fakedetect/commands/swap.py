"""`swap`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fakecore.commands.options import Device
from fakecore.errors import UserError
from fakecore.messages import counted


def swap(
    target: Annotated[Path, typer.Argument(metavar="VIDEO", help="Video whose largest face is replaced.")],
    donor: Annotated[Path, typer.Argument(metavar="DONOR", help="Video of the face to put there.")],
    out: Annotated[Path, typer.Option(metavar="FILE.mp4", help="New video.")],
    fps: Annotated[float, typer.Option(help="Frames per second of the new video.")] = 12,
    end: Annotated[float | None, typer.Option(help="End time in the video, in seconds.")] = None,
    crf: Annotated[int, typer.Option(min=0, max=51, help="Constant rate factor of H.264: 18 good, 40 poor.")] = 23,
    untouched: Annotated[
        bool, typer.Option("--untouched", help="Replace nothing: the same video, encoded alike, for comparison.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Random seed of the blending.")] = 0,
    device: Device = "auto",
) -> int:
    """Replace the face of a video by that of another: test material for detectors of faces.

    The donor's face in the most similar pose is aligned by five landmarks, matched in colour and blended in, frame by
    frame. The new video says in its metadata that it is synthetic. Use it only with people who agree.

    \b
    Examples:
      fakelab swap anna.mp4 ben.mp4 --out swapped.mp4
      fakelab swap anna.mp4 ben.mp4 --out untouched.mp4 --untouched
    """
    from fakecore.media.pixels import ImageError
    from fakecore.media.videostream import VideoError
    from fakedetect.blends.videoswap import swap_video

    options: dict[str, Any] = {"fps": fps, "end_s": end, "crf": crf, "seed": seed, "device": device}
    try:
        swapped = swap_video(target, donor, out, swap=not untouched, **options)
    except (VideoError, ImageError) as error:
        raise UserError(
            f"a video cannot be used: {error}", got=f"{target} and {donor}", expected="two videos"
        ) from None
    print(f"{out}: {'untouched' if untouched else counted(swapped, 'frame') + ' with a swapped face'}")
    return 0
