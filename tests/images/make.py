"""Makes the test photos from their sources (README.md names packages and licences). Needs Pillow and numpy.

    python make.py SKIMAGE_DATA FACE_API_DEMO MATPLOTLIB_SAMPLE_DATA

SKIMAGE_DATA            skimage/data of the scikit-image wheel
FACE_API_DEMO           package/demo of the npm package @vladmandic/face-api
MATPLOTLIB_SAMPLE_DATA  matplotlib/mpl-data/sample_data of the matplotlib wheel
"""

import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
ORIENTATION = 0x0112
# What undoes an orientation, so that the viewer's turn brings the picture upright again.
UNTURN = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


def save(image, name, **options):
    image.save(HERE / name, quality=88, optimize=True, **options)


def wide(image, width):
    return image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)


def main(skimage, face_api, matplotlib):
    portrait = Image.open(skimage / "astronaut.png").convert("RGB")
    save(portrait, "portrait.jpg")
    save(portrait.convert("L"), "grey.jpg")
    for orientation, turn in UNTURN.items():
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        save(wide(portrait, 320).crop((0, 0, 320, 280)).transpose(turn), f"rotated_exif_{orientation}.jpg", exif=exif)

    save(Image.open(matplotlib / "grace_hopper.jpg").convert("RGB"), "portrait_2.jpg")
    save(Image.open(skimage / "coffee.png").convert("RGB"), "no_face.jpg")

    sample = [Image.open(face_api / f"sample{i}.jpg").convert("RGB") for i in range(1, 7)]
    save(wide(sample[4], 1200), "group.jpg")
    save(sample[1].crop((250, 0, 790, 700)), "profile.jpg")
    sheet = Image.new("RGB", (480, 360))
    for k, photo in enumerate(sample[2:6]):
        sheet.paste(wide(photo, 240).crop((0, 0, 240, 180)), (k % 2 * 240, k // 2 * 180))
    save(sheet, "tiny_faces.jpg")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
