"""Photos of 1920 x 1080 pixels, put together from tests/images: with one face and with eight."""

import sources

WIDTH, HEIGHT = 1920, 1080
GREY = (118, 122, 126)
PHOTOS = {
    # File, left, top, width and height on the canvas.
    "one": [("portrait.jpg", 420, 0, 1080, 1080)],
    "eight": [
        ("group.jpg", 0, 60, 1320, 961),  # five faces
        ("portrait.jpg", 1440, 0, 360, 360),
        ("portrait_2.jpg", 1468, 360, 304, 360),
        ("grey.jpg", 1440, 720, 360, 360),
    ],
}


def write(cache):
    """Writes `photos/NAME.jpg` and the same pixels, as that was decoded, as `photos/NAME.png`; gives their folder."""
    import cv2
    import numpy as np

    folder = cache / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    for name, parts in PHOTOS.items():
        canvas = np.full((HEIGHT, WIDTH, 3), GREY[::-1], np.uint8)
        for file, left, top, width, height in parts:
            image = cv2.imread(str(sources.ROOT / "tests/images" / file))
            how = cv2.INTER_AREA if image.shape[0] > height else cv2.INTER_CUBIC
            canvas[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=how)
        cv2.imwrite(str(folder / f"{name}.jpg"), canvas, [cv2.IMWRITE_JPEG_QUALITY, 92])
        cv2.imwrite(str(folder / f"{name}.png"), cv2.imread(str(folder / f"{name}.jpg")))
    return folder
