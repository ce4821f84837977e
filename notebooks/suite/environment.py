"""The variables that every notebook is run and tested with, so that its numbers are the same everywhere."""

THREADS = "2"
ENVIRONMENT = {
    "PCLIB_PROFILE": "demo",
    "PYTHONHASHSEED": "0",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait do not keep others from the cores
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), THREADS),
}
