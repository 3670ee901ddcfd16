"""`python -m sr_keras` lists the verbs."""

VERBS = {
    "train": "trains a network: [CONFIG.yaml] [--run DIR] [key=value ...]",
    "evaluate": "PSNR and SSIM under a named protocol: MODEL DATA [--scale N] [--protocol NAME] [--json FILE]",
    "upscale": "enlarges pictures, folders, videos: INPUT... [--model MODEL] [-o OUT] [--scale S]",
    "import_weights": "makes a run folder of PyTorch or ncnn weights: FILE [--arch NAME] [-o RUN]",
    "export": "writes SavedModel, TFLite and ONNX, each verified: MODEL [RECIPE] [-o DIR]",
}


def main() -> None:
    """Prints the verbs and how to get the help of each."""
    print("sr_keras: image super-resolution, from pictures to a phone\n")
    for verb, summary in VERBS.items():
        print(f"  python -m sr_keras.{verb:14} {summary}")
    print("\nEach answers --help. TensorBoard: tensorboard --logdir runs")


if __name__ == "__main__":
    main()
