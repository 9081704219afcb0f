"""Alarms go where they can be sent, and no secret stands in the configuration."""

from pathlib import Path

import pytest
from plants import HEAD, only

from config.addresses import Way, parse_address
from config.loading import check_settings
from config.oversight import Webhook
from config.problems import Problem
from daemon.checking import alarm_problems
from daemon.systemd.units import drop_ins

GOOD = 'name = "office"\nwhen = "trouble"\nto = ["https://chat.plant/hook"]\n'


def check(folder: Path, alarms: str) -> list[Problem]:
    file = folder / "millwatch.toml"
    file.write_text(HEAD.replace("$P", str(folder)) + alarms)
    return check_settings(file, {}, further=(alarm_problems,))[1]


@pytest.mark.parametrize(
    ("text", "way", "where", "shown"),
    [
        ("https://h/a/b?k=1", Way.WEBHOOK, ("h", 443, "/a/b?k=1"), "https://h/…"),
        ("http://h:81", Way.WEBHOOK, ("h", 81, "/"), "http://h:81"),
        ("mailto:a.b@c.example", Way.MAIL, ("", 0, "a.b@c.example"), "mailto:a.b@c.example"),
        ("mqtt://h/a/b", Way.MQTT, ("h", 1883, "a/b"), "mqtt://h/a/b"),
        ("mqtts://h:99/a", Way.MQTT, ("h", 99, "a"), "mqtts://h:99/a"),
    ],
)
def test_an_address_says_how_and_where(
    text: str, way: Way, where: tuple[str, int, str], shown: str
) -> None:
    address = parse_address(text)
    assert (address.way, address.shown) == (way, shown)
    assert (address.host, address.port, address.target) == where
    assert address.secure == text.startswith(("https", "mqtts"))


@pytest.mark.parametrize(
    ("alarm", "key", "words"),
    [
        (GOOD.replace("https:", "ftp:"), "alarms[1].to[1]", "no way to send an alarm"),
        (GOOD.replace("chat", "anna:s3cret@chat"), "alarms[1].to[1]", "holds a user"),
        (GOOD.replace("https://chat.plant/hook", "mailto:anna"), "alarms[1].to[1]", "e-mail"),
        (GOOD.replace("https://chat.plant/hook", "mqtt://broker"), "alarms[1].to[1]", "topic"),
        (GOOD.replace("https://chat.plant/hook", "mqtt://b/t/#"), "alarms[1].to[1]", "be called"),
        (GOOD.replace("https://chat.plant/hook", "https://:x"), "alarms[1].to[1]", "be called"),
        (GOOD.replace('"https://chat.plant/hook"', ""), "alarms[1].to", "is empty"),
        (GOOD.replace("https://chat.plant/hook", "mailto:a@b"), "alarms[1].to", "no mail server"),
        (GOOD.replace("trouble", "silence"), "alarms[1].when", 'must be "trouble", "silent"'),
        (GOOD.replace('when = "trouble"\n', ""), "alarms[1].when", "is missing"),
        (GOOD.replace("trouble", "rate"), "alarms[1].when", "no rate is out of limits"),
        (
            GOOD.replace("trouble", "rate") + "min_rate = 0.2\nmax_rate = 0.1\n",
            "alarms[1].min_rate",
            "every rate is out of limits",
        ),
        (GOOD.replace("trouble", "silent"), "alarms[1].when", "no camera is ever silent"),
        # What was refused is told once, and no conclusion is drawn from what stands in for it.
        (GOOD.replace("trouble", "rate") + "max_rate = 20\n", "alarms[1].max_rate", "at most 1.0"),
        (GOOD + "count = 3\n", "alarms[1].count", "has no meaning"),
        (GOOD + 'camera = "top-9"\n', "alarms[1].camera", 'there is no camera "top-9"'),
        (GOOD + "cont = 3\n", "alarms[1].cont", "is not a key"),
        (f"{GOOD}[[alarms]]\n{GOOD}", "alarms[2].name", "is named"),
    ],
)
def test_what_cannot_be_told_or_sent_is_a_problem_with_its_line(
    tmp_path: Path, alarm: str, key: str, words: str
) -> None:
    problem = only(check(tmp_path, f"[[alarms]]\n{alarm}"))
    assert problem.key == key
    assert words in problem.what
    assert problem.line is not None
    assert problem.remedy
    assert "s3cret" not in str(problem)


@pytest.mark.parametrize(
    ("camera", "alarm", "key"),
    [
        ('name = "top 1"', GOOD + 'camera = "top 1"\n', "cameras[1].name"),
        (
            'name = "top-1"\nsilent_after_minutes = "30"',
            GOOD.replace("trouble", "silent"),
            "cameras[1].silent_after_minutes",
        ),
        (
            'name = "top-1"',
            GOOD.replace("https://chat.plant/hook", "mailto:a@b") + "[mail]\nhost = 1\n",
            "mail.host",
        ),
    ],
)
def test_of_a_key_that_was_refused_alarms_conclude_nothing(
    tmp_path: Path, camera: str, alarm: str, key: str
) -> None:
    file = tmp_path / "millwatch.toml"
    (tmp_path / "top").mkdir()
    cameras = f'[[cameras]]\n{camera}\nfolder = "{tmp_path / "top"}"\n'
    file.write_text(f'state_dir = "{tmp_path}/state"\n{cameras}[[alarms]]\n{alarm}')
    assert only(check_settings(file, {}, further=(alarm_problems,))[1]).key == key


def test_an_alarm_of_a_camera_that_is_never_silent_is_a_problem_whatever_the_others_are(
    tmp_path: Path,
) -> None:
    cameras = ""
    for name, minutes in (("top-1", 30), ("side-1", 0)):
        (tmp_path / name).mkdir()
        cameras += f'[[cameras]]\nname = "{name}"\nfolder = "{tmp_path / name}"\n'
        cameras += f"silent_after_minutes = {minutes}.0\n"
    alarm = f"{cameras}[[alarms]]\n{GOOD.replace('trouble', 'silent')}"
    problem = only(check(tmp_path, alarm + 'camera = "side-1"\n'))
    assert (problem.key, problem.what) == ("alarms[1].when", 'camera "side-1" is never silent')
    assert check(tmp_path, alarm + 'camera = "top-1"\n') == []
    assert check(tmp_path, alarm) == []


def test_a_password_does_not_cross_the_network_in_the_clear(tmp_path: Path) -> None:
    mail = '[mail]\nhost = "mail.plant"\ntls = "none"\npassword_file = "/etc/secret"\n'
    assert "in the clear" in only(check(tmp_path, mail)).what
    assert check(tmp_path, mail.replace("mail.plant", "localhost")) == []
    assert check(tmp_path, mail.replace('"none"', '"starttls"')) == []


def test_neither_do_a_webhooks_token_and_a_brokers_password(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    hook = f'[[alarms]]\n{GOOD.replace("https", "http")}[webhook]\ntoken_file = "{secret}"\n'
    problem = only(check(tmp_path, hook))
    assert (problem.key, "to chat.plant in the clear" in problem.what) == ("alarms[1].to", True)
    assert check(tmp_path, hook.replace("chat.plant", "127.0.0.1")) == []
    assert check(tmp_path, hook.replace("http:", "https:")) == []
    assert check(tmp_path, f'{hook}token_hosts = ["tickets.plant"]\n') == []
    assert only(check(tmp_path, f"{hook}token_hosts = 1\n")).key == "webhook.token_hosts"
    broker = hook.partition("[webhook]")[0].replace("http://", "mqtt://")
    login = f'[mqtt]\nuser = "line-1"\npassword_file = "{secret}"\n'
    problem = only(check(tmp_path, broker + login))
    assert (problem.key, "to chat.plant in the clear" in problem.what) == ("alarms[1].to", True)
    assert check(tmp_path, broker) == []
    assert check(tmp_path, broker.replace("mqtt:", "mqtts:") + login) == []


def test_of_several_hosts_the_configuration_says_whose_the_token_is(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    alarm = GOOD.replace("]", ', "https://[fd00::1]:8443/a", "mqtts://broker/topic"]')
    text = f'[[alarms]]\n{alarm}[webhook]\ntoken_file = "{tmp_path}/token"\n'
    problem = only(check(tmp_path, text))
    assert problem.key == "webhook.token_hosts"
    assert "chat.plant, fd00::1" in problem.what
    assert check(tmp_path, f'{text}token_hosts = ["[fd00::1]"]\n') == []
    webhook = Webhook(token_file=tmp_path / "token", token_hosts=("[fd00::1]",))
    assert webhook.token_for("fd00::1") == tmp_path / "token"
    assert webhook.token_for("chat.plant") is None


def test_a_secret_that_cannot_be_read_is_a_problem_that_may_be_mended(tmp_path: Path) -> None:
    text = f'[[alarms]]\n{GOOD}[webhook]\ntoken_file = "{tmp_path}/token"\n'
    problem = only(check(tmp_path, text))
    assert (problem.key, problem.again_helps) == ("webhook.token_file", True)
    (tmp_path / "token").mkdir()
    assert only(check(tmp_path, text)).key == "webhook.token_file"
    (tmp_path / "token").rmdir()
    (tmp_path / "token").write_text("x")
    assert check(tmp_path, text) == []


def test_the_unit_lets_out_what_an_alarm_sends_and_else_nothing(tmp_path: Path) -> None:
    def unit(alarms: str) -> str:
        file = tmp_path / "millwatch.toml"
        file.write_text(HEAD.replace("$P", str(tmp_path)) + alarms)
        settings, problems = check_settings(file, {})
        assert settings is not None, problems
        return drop_ins(settings)["millwatch.service.d/50-configuration.conf"]

    assert "IPAddressDeny=" not in unit("")
    assert "IPAddressDeny=" in unit(f"[[alarms]]\n{GOOD}")
