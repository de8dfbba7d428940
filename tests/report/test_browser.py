"""The page in a browser, on a phone and on a desk."""

import pytest
from browser import found_browser, opened_tab

BROWSER = found_browser()
IMAGES = """
Promise.all([...document.images].map(async (image) => {
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 200;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(image, 0, 0, 200, 200);
  const pixels = context.getImageData(0, 0, 200, 200).data;
  let ink = 0;
  for (let i = 0; i < pixels.length; i += 4)
    ink += pixels[i + 3] > 0 && pixels[i] + pixels[i + 1] + pixels[i + 2] < 600;
  const box = image.getBoundingClientRect();
  return {left: box.left, right: box.right, height: box.height, ink};
}))
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_the_page_opens_without_a_complaint_and_shows_its_figures(written):
    with opened_tab(BROWSER) as tab:
        for width in (390, 1440):
            tab.open(written.as_uri(), width)
            images = tab.value(IMAGES)
            assert len(images) == len(list(written.parent.glob("figures/*.png"))) == 15
            for image in images:
                assert 0 <= image["left"] < image["right"] <= width
                assert image["right"] - image["left"] >= 300 and image["height"] >= 200
                assert image["ink"] > 200
            assert tab.value("document.documentElement.scrollWidth") <= width
        assert tab.complaints == []
        assert {url for url in tab.requests if not url.startswith("data:")} == {
            written.as_uri()
        }
