"""Fields of every package, in one table, encrypted, verified, rotated and decrypted to the same bytes."""

import json
import os
import time
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet
from packages_site import BINARY, COLUMNS, ROWS, PackagesSite, as_read

from deployguard.errors import Refused, StepFailed
from deployguard.keys.fingerprint import fingerprint
from deployguard.keys.keyring import has_token_form
from deployguard.steps.column_keys import keys_of_application
from deployguard.steps.encryption import keys_needed
from deployguard.steps.encryption_decrypt import EncryptionDecrypt
from deployguard.steps.encryption_encrypt import EncryptionEncrypt
from deployguard.steps.encryption_plan import EncryptionPlan
from deployguard.steps.encryption_readiness import EncryptionReadiness
from deployguard.steps.encryption_rotate import EncryptionRotate
from deployguard.steps.encryption_verify import EncryptionVerify
from deployguard.steps.key_check import KeyCheck


@pytest.fixture
def site(store, tmp_path):
    return PackagesSite(tmp_path / "site", store)


@pytest.fixture
def small(sqlite, tmp_path):
    return PackagesSite(tmp_path / "site", sqlite)


def begun(step, here):
    return replace(here, before=step.capture(here), began=time.time())


def encrypted(site):
    here = begun(EncryptionEncrypt(), site.context())
    return here, EncryptionEncrypt().execute(here)


def unlike(rows, before):
    """Columns in which no value is what it was."""
    return {c for at, c in enumerate(COLUMNS) if all(a[at] != b[at] for a, b in zip(rows, before, strict=True))}


def test_every_packages_columns_are_encrypted_read_by_the_application_and_decrypted_to_the_same_bytes(site):
    site.fill([*ROWS, (None,) * len(COLUMNS)])
    before = site.stored()

    here, outcome = encrypted(site)
    sealed = site.stored()
    verified = EncryptionVerify().execute(site.context())
    read = site.read()
    EncryptionEncrypt().compensate(here)

    assert outcome.evidence["rows"] == len(ROWS)
    assert unlike(sealed[:-1], before[:-1]) == set(COLUMNS)
    assert sealed[-1] == (None,) * len(COLUMNS)
    assert verified.status == "pass", verified.summary
    assert read == as_read([*ROWS, (None,) * len(COLUMNS)])
    assert site.stored() == before


def test_readiness_shakes_hands_for_every_column(site):
    site.fill()

    outcome = EncryptionReadiness(required=True).execute(site.context())

    assert outcome.evidence["handshake"], outcome.summary
    assert outcome.status == "warn"
    assert outcome.summary == "the application cannot read plaintext in an encrypted column"


def test_tokens_that_the_application_wrote_before_stay_through_encryption_and_undo(site):
    site.manage("shell", "--no-imports", "-c", "from shop.models import Person; Person.objects.create(**dict.fromkeys("
                f"{[c for c in COLUMNS if c != 'born']!r}, 'old'), born='2001-02-03')")  # fmt: skip
    time.sleep(1.1)
    site.fill()
    before = site.stored()

    here, _ = encrypted(site)
    sealed = site.stored()
    EncryptionEncrypt().compensate(here)

    assert sealed[0] == before[0]
    assert site.stored() == before


def test_derived_keys_are_rotated_and_back_as_the_package_lists_them(site):
    site.fill()
    encrypted(site)
    before = site.stored()
    site.env |= {"SALT_KEY": "fresh,salt", "FERNET_KEYS": "second,first"}

    here = begun(EncryptionRotate(), site.context())
    outcome = EncryptionRotate().execute(here)
    rotated = site.stored()
    newest = EncryptionVerify(newest_key_only=True).execute(site.context())
    EncryptionRotate().compensate(here)

    assert unlike(rotated, before) == {"pbkdf2", "hkdf", "born"}
    assert outcome.summary.endswith(
        "left as they are: shop_person.pickled, shop_person.own, which only the application seals"
    )
    assert newest.status == "pass"
    assert EncryptionVerify(newest_key_only=True).execute(site.context()).status == "fail"
    site.env |= {"SALT_KEY": "salt", "FERNET_KEYS": "first"}
    assert site.read() == as_read()


def test_the_plan_says_whose_keys_seal_what_and_what_must_not_be_lost(small):
    small.fill()

    outcome = EncryptionPlan().execute(small.context())

    assert outcome.status == "pass"
    assert (
        "shop_person.pbkdf2: the application derives the key by PBKDF2 from SECRET_KEY and SALT_KEY:"
        " whoever loses SECRET_KEY and SALT_KEY loses the data" in outcome.summary
    )
    assert (
        "shop_person.hkdf, shop_person.born: the application derives the key by HKDF from FERNET_KEYS"
        in outcome.summary
    )
    assert (
        "shop_person.pickled: only the application seals and opens it (django-cryptography-5), slower, its key is not"
        " checked: whoever loses CRYPTOGRAPHY_KEY loses the data" in outcome.summary
    )
    said = {each["column"]: each for each in outcome.evidence["keys"]}
    assert len(said["shop_person.hkdf"]["fingerprints"]) == 1
    assert said["shop_person.own"]["fingerprints"] == []


def test_no_derived_key_is_in_what_a_step_leaves_on_record(small):
    from deployguard.rows.discover import application_keys

    small.fill()
    here, outcome = encrypted(small)
    planned = EncryptionPlan().execute(small.context())
    keys = application_keys(small.context().target.application, here.discover().fields)

    told = repr((here.before, outcome, planned))
    assert keys["shop.Person.pbkdf2"]
    assert not any(key.reveal() in told for ring in keys.values() for key in ring)


def test_columns_with_derived_keys_alone_need_no_key_in_the_runbook(small):
    small.folder.joinpath("shop/models.py").write_text(
        "import fernet_fields\nfrom django.db import models\n"
        "class Person(models.Model):\n    hkdf = fernet_fields.EncryptedTextField(null=True)\n"
    )
    small.fill()

    here = begun(EncryptionEncrypt(), small.context(keys=()))
    EncryptionEncrypt().execute(here)

    assert EncryptionVerify().execute(small.context(keys=())).status == "pass"
    assert all(has_token_form(row[COLUMNS.index("hkdf")]) for row in small.stored())


def test_a_key_that_is_made_up_at_each_start_encrypts_nothing(small):
    settings = small.folder / "site_settings.py"
    settings.write_text(settings.read_text() + "\nSALT_KEY = [os.urandom(8).hex()]\n")
    small.fill()
    before = small.stored()

    with pytest.raises(Refused, match=r"the key of shop.Person.pbkdf2 differs between two starts"):
        encrypted(small)
    assert small.stored() == before


def test_a_changed_secret_key_is_noticed_before_anything_is_written(small):
    small.fill()
    encrypted(small)
    small.fill()
    before = small.stored()
    small.env["SAMPLE_SECRET_KEY"] = "another-text-that-the-derived-keys-start-from-now"

    with pytest.raises(Refused, match=r"shop_person.pbkdf2: 8 rows: the value has the form of a token"):
        encrypted(small)
    assert small.stored() == before


@pytest.mark.parametrize("column", ["pickled", "own"])
def test_a_damaged_value_that_only_the_application_could_open_is_no_plaintext(small, column):
    small.fill()
    encrypted(small)
    value = small.stored()[3][COLUMNS.index(column)]
    cut = value[:-16]
    small.store.run(f"UPDATE shop_person SET {column} = ? WHERE id = 4", cut)

    verified = EncryptionVerify().execute(small.context())

    assert f"shop_person.{column}: 1 row: the value has the form of a token that no known key opens" in verified.summary
    with pytest.raises(Refused, match="no known key opens"):
        encrypted(small)


def test_a_value_that_the_application_would_spell_in_another_way_is_refused_by_name(small):
    small.fill()
    small.store.run("""UPDATE shop_person SET own = '{"a":1}' WHERE id = 2""")
    before = small.stored()

    with pytest.raises(Refused, match=r"shop_person.own: 1 row: .* byte for byte .*primary key 2"):
        encrypted(small)
    assert small.stored() == before


def test_text_in_a_column_of_bytes_is_named_and_nothing_written(small):
    small.fill()
    small.store.run("UPDATE shop_person SET hkdf = CAST(hkdf AS TEXT) WHERE id = 3")
    before = small.stored()

    with pytest.raises(Refused, match=r"shop_person.hkdf: 1 row: .*something else than bytes.*primary key 3"):
        encrypted(small)
    assert small.stored() == before


def test_bytes_are_compared_and_swapped_as_bytes(site):
    """What is no text at all goes there and back too."""
    site.fill()
    odd = b"\x00\xff\\x41'%s \xc3"
    site.store.run("UPDATE shop_person SET hkdf = ? WHERE id = 1", odd)
    before = site.stored()

    here, _ = encrypted(site)
    sealed = bytes(site.stored()[0][COLUMNS.index("hkdf")])
    EncryptionEncrypt().compensate(here)

    assert has_token_form(sealed)
    assert site.stored() == before
    assert bytes(before[0][COLUMNS.index("hkdf")]) == odd


def test_a_field_that_reads_damage_as_a_value_is_refused_by_name(small):
    fields = small.folder / "shop" / "fields.py"
    fields.write_text(
        fields.read_text().replace("            if value is None or not", "            if value is None:\n                return None\n            if not")
        .replace("return json.loads(AESGCM(KEY).decrypt(sealed[:12], sealed[12:], None))",
                 "try:\n            return json.loads(AESGCM(KEY).decrypt(sealed[:12], sealed[12:], None))\n"
                 "        except Exception:\n            return 'lost'")
    )  # fmt: skip
    small.fill()
    before = small.stored()

    with pytest.raises(Refused, match=r"shop.Person.own is in a format that only the application speaks, and it reads"):
        encrypted(small)
    assert small.stored() == before


def test_many_workers_each_have_the_application_and_the_keys(small):
    small.fill(ROWS * 2600)

    here = begun(EncryptionEncrypt(), small.context())
    small.folder.joinpath("shop/models.py").write_text(
        "import fernet_fields\nfrom django.db import models\nfrom shop.fields import OwnFormat\n"
        "class Person(models.Model):\n    hkdf = fernet_fields.EncryptedTextField(null=True)\n    own = OwnFormat(null=True)\n"
    )
    here = begun(EncryptionEncrypt(), small.context())
    outcome = EncryptionEncrypt(workers=2).execute(here)

    assert outcome.evidence["rows"] == len(ROWS) * 2600
    assert EncryptionVerify().execute(small.context()).status == "pass"


def test_after_the_way_back_what_no_code_can_open_any_more_is_said(small):
    small.fill()
    here, _ = encrypted(small)
    EncryptionEncrypt().compensate(here)
    (small.folder / "shop" / "models.py").write_text(
        "from django.db import models\nclass Person(models.Model):\n    pbkdf2 = models.TextField(null=True)\n"
    )
    here.target.remembered.clear()

    EncryptionEncrypt().settle(here)
    small.store.run(
        "UPDATE shop_person SET pbkdf2 = ? WHERE id = 1", Fernet(Fernet.generate_key()).encrypt(b"x").decode()
    )

    with pytest.raises(StepFailed, match=r"tokens that the outgoing code wrote are left in shop_person.pbkdf2 \(1\)"):
        EncryptionEncrypt().settle(here)


def test_decrypting_for_good_gives_back_every_packages_plaintext(small):
    small.fill()
    before = small.stored()
    encrypted(small)

    here = begun(EncryptionDecrypt(), replace(small.context(), run="run-2"))
    EncryptionDecrypt().execute(here)

    assert small.stored() == before
    assert {type(v) for row in small.stored() for c, v in zip(COLUMNS, row, strict=True) if c in BINARY} == {bytes}


def test_the_key_check_looks_at_derived_keys_as_at_the_runbooks(small):
    outcome = KeyCheck().execute(small.context(keys=()))

    assert outcome.status == "pass", outcome.summary
    places = {key["source"] for key in outcome.evidence["keys"]}
    assert places == {f"the application, for shop_person.{c}" for c in ("pbkdf2", "hkdf", "born")}
    assert "whoever loses SECRET_KEY and SALT_KEY loses the data" in outcome.summary


def test_the_key_check_finds_a_derived_key_that_lies_about(small):
    context = small.context()
    [(_, [key]), *_] = keys_of_application(context.target, context.discover().fields)
    (small.folder / "notes.txt").write_text(f"the old one was {key.reveal()}\n")

    outcome = KeyCheck().execute(context)

    assert outcome.status == "fail"
    assert "the key key of shop.Person.pbkdf2 stands in" in outcome.summary
    assert key.reveal() not in repr(outcome)


def test_the_key_check_refuses_a_derived_key_that_is_made_up_at_each_start(small):
    settings = small.folder / "site_settings.py"
    settings.write_text(settings.read_text() + "\nSALT_KEY = [os.urandom(8).hex()]\n")

    outcome = KeyCheck().execute(small.context())

    assert outcome.status == "fail"
    assert "the key of shop.Person.pbkdf2 differs between two starts" in outcome.summary


def test_a_backup_says_that_it_needs_the_derived_keys(small):
    small.fill()
    encrypted(small)
    target = small.context().target
    derived = {fingerprint(k) for _, ring in keys_of_application(target, target.discover().fields) for k in ring}

    assert len(derived) == 2
    assert set(keys_needed(target)) == {*target.keyring.fingerprints, *derived}


def test_tokens_that_the_application_writes_behind_the_cursor_of_the_way_back_are_opened_too(small):
    small.fill()
    before = small.stored()
    here, _ = encrypted(small)
    tokens = dict(zip(COLUMNS, small.stored()[0], strict=True))
    written = []

    def write(progress):
        if progress.done and not written:
            written.append(
                small.store.run(
                    "UPDATE shop_person SET own = ?, pickled = ? WHERE id = 1", tokens["own"], tokens["pickled"]
                )
            )

    EncryptionEncrypt().compensate(replace(here, pulse=write, began=0.0))

    assert written
    assert small.stored() == before


def test_by_its_commands_it_is_planned_rehearsed_encrypted_verified_scanned_reported_and_rolled_back(
    site, request, monkeypatch
):
    """On every product, with each package's columns in one table."""
    if site.store.product == "postgresql":  # whose dump program must be as new as the server
        programs = request.getfixturevalue("postgres_server").programs
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    site.fill()
    before = site.stored()

    planned = site.run("plan", "--env", "production")
    deployed = site.run("deploy", "--env", "production", "--yes")
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    scanned = site.run("data", "scan", "--env", "production", "--json")
    sealed, read = site.stored(), site.read()
    [report] = (site.folder / "reports").glob("*.md")
    told = report.read_text("utf-8")
    back = site.run("rollback", "--yes")

    assert planned.returncode == 0, planned.stderr
    assert "by PBKDF2 from SECRET_KEY and SALT_KEY" in planned.stdout
    assert "tried on a copy: every value reads the same, every byte came back" in told
    assert ("no transaction longer than" in told) == (site.store.product != "sqlite")
    assert "by HKDF from FERNET_KEYS" in told
    assert scanned.returncode == 0, scanned.stderr
    columns = {c["column"]: (c["plaintext"], c["primary"]) for c in json.loads(scanned.stdout)["columns"]}
    assert columns == dict.fromkeys(COLUMNS, (0, len(ROWS)))
    assert unlike(sealed, before) == set(COLUMNS)
    assert read == as_read()
    assert back.returncode == 0, back.stdout + back.stderr
    assert site.stored() == before


def test_an_empty_text_becomes_what_the_application_stores_for_it(site):
    empty = [c for c in COLUMNS if c != "born"]
    site.manage(
        "shell",
        "--no-imports",
        "-c",
        f"from shop.models import Person; Person.objects.create(**dict.fromkeys({empty!r}, ''))",
    )
    theirs = dict(zip(COLUMNS, site.stored()[0], strict=True))
    site.fill([("",) * 3 + (None,) + ("",) * 3])
    before = site.stored()

    here, _ = encrypted(site)
    ours = dict(zip(COLUMNS, site.stored()[1], strict=True))
    EncryptionEncrypt().compensate(here)

    # two quotes are inside of what a JSON field stores, so an empty text is none of its values and stays what it is;
    # NULL would lose the difference
    assert {c for c in COLUMNS if ours[c]} == {"plain_key", "hkdf", "pickled"}
    assert {c for c in COLUMNS if theirs[c]} == {"plain_key", "hkdf", "pickled", "wrapped", "own"}
    assert (theirs["pbkdf2"], ours["pbkdf2"]) == (None, "")
    assert site.stored() == before


INHERITED = """
    from django.db import models
    import encrypted_fields.fields as salted
    import fernet_fields


    class Visible(models.Manager):
        def get_queryset(self):
            return super().get_queryset().filter(deleted=False)


    class Person(models.Model):
        deleted = models.BooleanField(default=False)
        pbkdf2 = salted.EncryptedTextField(null=True)
        objects = Visible()


    class Employee(Person):
        hkdf = fernet_fields.EncryptedTextField(null=True)


    class PersonProxy(Person):
        class Meta:
            proxy = True
"""


def test_child_tables_proxies_and_rows_that_a_manager_hides_are_encrypted_each_once(tmp_path, store):
    site = PackagesSite(tmp_path / "site", store, models=INHERITED)
    site.store.run("INSERT INTO shop_person (id, deleted, pbkdf2) VALUES (1, ?, 'Ann'), (2, ?, 'Zoë')", True, False)
    site.store.run("INSERT INTO shop_employee (person_ptr_id, hkdf) VALUES (1, ?), (2, ?)", b"one", b"two")

    _, outcome = encrypted(site)

    assert outcome.evidence["rows"] == 4
    assert {t["table"]: t["rows"] for t in outcome.evidence["tables"]} == {"shop_person": 2, "shop_employee": 2}
    read = site.manage(
        "shell", "--no-imports", "-c", "from shop.models import Employee; print([(e.pbkdf2, e.hkdf) for e in Employee._base_manager.order_by('pk')])"
    )  # fmt: skip
    assert read.strip() == "[('Ann', 'one'), ('Zoë', 'two')]"
