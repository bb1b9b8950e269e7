# The commands a contributor runs. `make check` is what CI runs.
PYTHON ?= python

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
	$(PYTHON) -m pytest -m "not slow"

test-all:
	$(PYTHON) -m pytest

train:
	$(PYTHON) tools/train.py -c configs/det_cml.yml

teacher:
	$(PYTHON) tools/train.py -c configs/det_teacher.yml

# docs/configuration.md, from the code.
reference:
	$(PYTHON) -m ocr_cml.reference docs/configuration.md

# docs/images/quickstart.jpg: the first held-out images with what the best student of the quick start's recipe, trained for a
# fourth epoch, finds on them. The exported folder and the pictures stay in output/picture.
PICTURED = 000000 000001 000002
picture:
	$(PYTHON) tools/train.py -c configs/det_cml.yml -o Global.epoch_num=4 Global.save_model_dir=output/picture
	$(PYTHON) tools/export_model.py -c output/picture/config.yml \
	    -o Global.pretrained_model=output/picture/best Global.save_inference_dir=output/picture/inference
	$(PYTHON) tools/infer_det.py --model_dir output/picture/inference --image ppocr_data/embedded/val --output output/picture/found
	$(PYTHON) -c "import cv2, sys; cv2.imwrite('docs/images/quickstart.jpg', cv2.hconcat([cv2.imread(f'output/picture/found/{name}.jpg') for name in sys.argv[1:]]), [cv2.IMWRITE_JPEG_QUALITY, 85])" $(PICTURED)
