"""The same nets and steps in PyTorch, eager; with TORCH_COMPILE=1 through torch.compile."""

import os

import numpy as np
import timing
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

torch.manual_seed(0)
COMPILE = bool(os.environ.get("TORCH_COMPILE"))
BLOCKS = {"best": timing.FEATURES, "wide": timing.WIDE}


class Lobo(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = ((1, 32, 1), (32, 64, 1), (64, 128, 1), (128, 256, 0))
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=p) for i, o, p in sizes)
        self.norms = nn.ModuleList((nn.BatchNorm2d(64, 1e-3), nn.BatchNorm2d(256, 1e-3)))
        self.hidden, self.out = nn.Linear(11 * 11 * 256, 1024), nn.Linear(1024, 7)

    def forward(self, x):
        for stage in range(2):
            x = F.relu(self.convs[2 * stage](x))
            x = self.norms[stage](F.relu(self.convs[2 * stage + 1](x)))
            x = F.dropout(F.max_pool2d(x, 2), 0.25, self.training)
        x = F.dropout(F.relu(self.hidden(x.flatten(1))), 0.5, self.training)
        return self.out(x)


class Best(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.blocks = blocks
        sizes = [f for block in blocks for f in block]
        pairs = zip([1, *sizes], sizes, strict=False)
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(o, 1e-3) for o in sizes)
        self.out = nn.Linear(sizes[-1], 7)

    def forward(self, x):
        x = x - x.mean((1, 2, 3), keepdim=True)
        x = x / (x.square().mean((1, 2, 3), keepdim=True).sqrt() + 0.05)
        layers = zip(self.convs, self.norms, strict=True)
        for number, block in enumerate(self.blocks):
            for unit in range(len(block)):
                conv, norm = next(layers)
                y = conv(x)
                y = y + x if unit > 0 else y
                last = unit == len(block) - 1 and number < len(self.blocks) - 1
                x = F.relu(norm(F.max_pool2d(y, 2) if last else y))
        return self.out(F.dropout(x.mean((2, 3)), 0.4, self.training))


class ManyToMany(nn.Module):
    def __init__(self, cell):
        super().__init__()
        embedding, units = (128, 64) if cell == "lstm" else (64, 256)
        kinds = {"simple_rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
        self.embed = nn.Embedding(timing.VOCABULARIES[0], embedding)
        self.recurrent = kinds[cell](embedding, units, batch_first=True)
        self.hidden, self.out = nn.Linear(units, 1024), nn.Linear(1024, timing.VOCABULARIES[1])

    def forward(self, x):
        x, _ = self.recurrent(self.embed(x))
        return self.out(F.dropout(F.relu(self.hidden(x)), 0.2, self.training))


class Jpegs(torch.utils.data.Dataset):
    def __init__(self, folder):
        self.paths = sorted(folder.glob("*/*.jpg"))
        self.classes = sorted({path.parent.name for path in self.paths})

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        path = self.paths[index]
        image = torch.from_numpy(np.array(Image.open(path)))
        return image, self.classes.index(path.parent.name)


def load(case):
    def work():
        batches = torch.utils.data.DataLoader(Jpegs(timing.jpegs() / "train"), case.batch)
        return sum(len(images) for images, _ in batches)

    return work


def make(case):
    if case.kind == "load":
        return load(case)
    if case.kind == "infer":
        return infer(case)
    train = recurrent(case) if case.kind == "recurrent" else training(case)
    return lambda: train().item()


def net_of(case):
    """In the layout that is the faster one, on a CPU and on a GPU."""
    net = Lobo() if case.net == "lobo" else Best(BLOCKS[case.net])
    return net.to(memory_format=torch.channels_last)


def images_of(case):
    images, labels = timing.faces(case.batch)
    images = torch.tensor(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    return images, torch.tensor(labels, dtype=torch.long)


def infer(case):
    net, (images, _) = net_of(case).eval(), images_of(case)
    call = compiled(net, COMPILE)

    def step():
        with torch.inference_mode():
            return call(images).numpy()

    return step


def training(case, *, device="cpu", bfloat16=False, compile=COMPILE):
    """A function that makes one step of training and returns the loss, which nothing waits for."""
    net = net_of(case).to(device)
    images, labels = (a.to(device) for a in images_of(case))
    call = compiled(net, compile)
    adam = {"fused": device != "cpu"}
    if case.net == "lobo":
        optimizer = torch.optim.Adam(net.parameters(), 1e-4, eps=1e-8, **adam)
    else:
        optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.1, **adam)
        average = [p.detach().clone() for p in net.parameters()]
    smoothing = 0.0 if case.net == "lobo" else 0.1

    def train():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            logits = call(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
        if case.net == "lobo":
            loss = loss + 0.01 * sum(c.weight.square().sum() for c in net.convs[2:])
        loss.backward()
        if case.net != "lobo":
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        if case.net != "lobo":
            torch._foreach_lerp_(average, [p.detach() for p in net.parameters()], 0.001)
        return loss.detach()

    return train


def recurrent(case, *, device="cpu", bfloat16=False, compile=False):
    """A function that trains an epoch and returns the last loss, which nothing waits for."""
    net = ManyToMany(case.net).to(device)
    call = compiled(net, compile)
    source, target = (
        torch.tensor(a, device=device) for a in timing.sentences(case.sentences, case.length)
    )
    target = target.long()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=device != "cpu")

    def epoch():
        for rows in torch.randperm(case.sentences, device=device).split(case.batch):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
                logits = call(source[rows])
            loss = F.cross_entropy(logits.float().flatten(0, 1), target[rows].flatten())
            loss.backward()
            optimizer.step()
        return loss.detach()

    return epoch


def compiled(net, wanted):
    return torch.compile(net) if wanted else net


if __name__ == "__main__":
    timing.report(make, f"torch {torch.__version__}")
