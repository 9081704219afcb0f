import torch
from torchvision.models import resnet18

from models.resnet18 import ResNet18


@torch.inference_mode()
def test_it_is_torchvisions_resnet18_layer_for_layer() -> None:
    theirs = resnet18(num_classes=6)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as training leaves them
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
    ours = ResNet18(channels=3, classes=6)
    ours.load_state_dict(theirs.state_dict())
    pictures = torch.rand(2, 3, 97, 64)
    x = ours.eval().maxpool(ours.relu(ours.bn1(ours.conv1(pictures))))
    maps = ours.layer4(ours.layer3(ours.layer2(ours.layer1(x))))
    logits = ours.fc(torch.flatten(ours.avgpool(maps), 1))
    assert torch.equal(logits, theirs.eval()(pictures))


def test_it_begins_as_torchvisions_does() -> None:
    torch.manual_seed(3)
    theirs = resnet18(num_classes=6).state_dict()
    torch.manual_seed(3)
    ours = ResNet18(channels=3, classes=6).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
