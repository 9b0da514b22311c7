"""README.md of what is exported: how to call it from three languages."""

TEXT = """\
# {name}: facial expressions, {count} classes, trained on {trained_on}
{warning}
Made by `python launch.py --mode=export` from weights with the SHA-256
`{sha256}`.

- **Input** `images`: uint8[N, 48, 48], any N. One grey face each, upright, from forehead to chin;
  nothing has to be scaled or subtracted.
- **Outputs** `logits` and `probabilities`: float32[N, {count}]. The probabilities are calibrated
  (temperature {temperature:.3f}); below 0.5 say "not sure".
- **Classes**, in this order: {classes}. Also in the metadata of the ONNX files.
- An expression is not an emotion: decide nothing about a person with it.

{table}

`model_f16.onnx` stores kernels in 16 bits and computes in float32. `model_int8.onnx` has
convolutions of 8 bits. `index.html` is a page that needs no network.

## Python, onnxruntime

    import numpy as np, onnxruntime
    session = onnxruntime.InferenceSession("model.onnx")
    images = np.zeros((1, 48, 48), np.uint8)
    logits, probabilities = session.run(None, {{"images": images}})

## Python, jax alone

    import jax, jax.export, numpy as np
    net = jax.export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
    answer = net.call(np.zeros((1, 48, 48), np.uint8))  # a dict of logits and probabilities

## C++

    Ort::Session session(env, "model.onnx", Ort::SessionOptions{{}});
    int64_t shape[] = {{1, 48, 48}};
    auto input = Ort::Value::CreateTensor<uint8_t>(memory, pixels, 48 * 48, shape, 3);
    const char *in[] = {{"images"}}, *out[] = {{"probabilities"}};
    auto found = session.Run(Ort::RunOptions{{}}, in, &input, 1, out, 1);

## JavaScript, onnxruntime-web

    const session = await ort.InferenceSession.create("model_f16.onnx");
    const images = new ort.Tensor("uint8", pixels, [1, 48, 48]); // Uint8Array
    const {{ probabilities }} = await session.run({{ images }});
    console.log(probabilities.data); // Float32Array, one number a class
"""


def text(card: dict, name: str, rows) -> str:
    drawn = card["trained_on"]["name"] == "drawn_faces"
    warning = "\n**It was trained on DRAWN FACES: its answers about people mean nothing.**\n"
    return TEXT.format(
        name=name,
        count=len(card["classes"]),
        classes=", ".join(card["classes"]),
        trained_on=card["trained_on"]["name"],
        sha256=card["sha256"],
        temperature=card["temperature"]["none"],
        warning=warning if drawn else "",
        table=table(rows),
    )


def table(rows) -> str:
    """Of `run.Row`, in Markdown."""
    head = [
        "| file | bytes | largest difference of a logit from JAX | same answers |",
        "|---|---|---|---|",
    ]
    return "\n".join(
        head + [f"| {r.file} | {r.bytes:,} | {r.difference:.1e} | {r.same:.1%} |" for r in rows]
    )
