# The commands a contributor runs. `make check` is what CI runs.
PYTHON ?= python
PYTEST = $(PYTHON) -m pytest

.PHONY: install check lint types test test-all train teacher benchmark reference picture

install:
	$(PYTHON) -m pip install -r requirements-test.txt

check: lint types test-all

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m mypy

test:
	$(PYTEST) -m "not slow"

test-all:
	$(PYTEST)

train:
	$(PYTHON) tools/train.py -c configs/det_cml.yml

teacher:
	$(PYTHON) tools/train.py -c configs/det_teacher.yml

# docs/configuration.md, from the code.
reference:
	$(PYTHON) -m ocr_cml.reference docs/configuration.md

# The README's picture: the first held-out images of the embedded set, with what the quick start's best student finds on them.
PICTURED = 000000 000001 000002
picture:
	$(PYTHON) tools/train.py -c configs/det_cml.yml
	$(PYTHON) tools/export_model.py -c output/det_cml/config.yml \
	    -o Global.pretrained_model=output/det_cml/best Global.save_inference_dir=output/det_cml/inference
	$(PYTHON) tools/infer_det.py --model_dir output/det_cml/inference --image ppocr_data/embedded/val --output output/found
	$(PYTHON) -c "import cv2, sys; cv2.imwrite('docs/images/quickstart.jpg', cv2.hconcat([cv2.imread(f'output/found/{name}.jpg') for name in sys.argv[1:]]), [cv2.IMWRITE_JPEG_QUALITY, 85])" $(PICTURED)
