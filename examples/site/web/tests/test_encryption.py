import json
import logging

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import connection
from django.test import SimpleTestCase, TestCase

from config.keys import encryption_keys
from web.fields import token_length
from web.models import Donation, FeatureVote, Order, Profile, WebRequest

NASTY = [
    "",
    " ",
    "Zoë",
    'O\'Brien "Bob"',
    "trailing  ",
    "two\r\nlines",
    "\u202eshalom\u202c",
    "👩‍👩‍👧",
    "gAAAAABno-token",
]


def stored(instance, column):
    """The column as the database holds it, past every field."""
    table = instance._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT "{column}" FROM "{table}" WHERE id = %s', [instance.pk])
        return cursor.fetchone()[0]


def store(instance, column, value):
    """Put a value into the column, past every field."""
    table = instance._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f'UPDATE "{table}" SET "{column}" = %s WHERE id = %s', [value, instance.pk])
    instance.refresh_from_db()


def decrypt(token):
    return Fernet(settings.FIELD_ENCRYPTION_KEY[0]).decrypt(token.encode()).decode()


class WhatIsStored(TestCase):
    def test_a_saved_value_is_a_token_under_the_newest_key(self) -> None:
        ada = Profile.objects.create(discord_username="ada#1815")

        self.assertNotIn("ada", stored(ada, "discord_username"))
        self.assertEqual(decrypt(stored(ada, "discord_username")), "ada#1815")

    def test_every_personal_column_is_encrypted(self) -> None:
        names = ["first_name", "last_name", "discord_username", "slack_username", "github_username"]
        ada = Profile.objects.create(**dict.fromkeys(names, "Ada"), email="a@example.org", stripe_account_id="Ada")
        donation = Donation.objects.create(email="a@example.org", amount_cents=1)

        for name in [*names, "stripe_account_id"]:
            self.assertEqual(decrypt(stored(ada, name)), "Ada", name)
        self.assertEqual(decrypt(stored(ada, "email")), "a@example.org")
        self.assertEqual(decrypt(stored(donation, "email")), "a@example.org")

    def test_none_stays_null_and_an_empty_text_becomes_a_token(self) -> None:
        nobody = Profile.objects.create(first_name=None, last_name="")

        self.assertIsNone(stored(nobody, "first_name"))
        self.assertEqual(decrypt(stored(nobody, "last_name")), "")

    def test_json_is_encrypted_as_its_text(self) -> None:
        order = Order.objects.create(shipping_address={"city": "Köln"}, total_cents=1)

        self.assertEqual(json.loads(decrypt(stored(order, "shipping_address"))), {"city": "Köln"})

    def test_ip_addresses_are_encrypted(self) -> None:
        for model, rest in [(WebRequest, {"path": "/"}), (FeatureVote, {"feature": "dark"})]:
            made = model.objects.create(ip_address="2001:db8::1", **rest)
            self.assertEqual(decrypt(stored(made, "ip_address")), "2001:db8::1")

    def test_the_longest_value_that_is_accepted_fits_its_column(self) -> None:
        longest = max(n for n in range(501) if token_length(n) <= 500)

        Profile(first_name="x" * longest).clean_fields()
        with self.assertRaises(ValidationError):
            Profile(first_name="x" * (longest + 1)).clean_fields()
        ada = Profile.objects.create(first_name="x" * longest)
        self.assertEqual(len(stored(ada, "first_name")), token_length(longest))
        self.assertLessEqual(len(stored(ada, "first_name")), 500)


class WhatIsRead(TestCase):
    def test_values_read_back_as_they_were_saved(self) -> None:
        for value in NASTY:
            made = Profile.objects.create(first_name=value)
            self.assertEqual(Profile.objects.get(pk=made.pk).first_name, value)

    def test_rows_from_before_the_encryption_are_still_readable(self) -> None:
        ada = Profile.objects.create()
        for value in NASTY:
            store(ada, "first_name", value)
            self.assertEqual(ada.first_name, value)

    def test_a_row_from_before_is_encrypted_when_it_is_saved(self) -> None:
        ada = Profile.objects.create()
        store(ada, "first_name", "Ada")

        ada.save()

        self.assertEqual(decrypt(stored(ada, "first_name")), "Ada")

    def test_json_from_before_is_still_readable(self) -> None:
        order = Order.objects.create(total_cents=1)
        store(order, "shipping_address", '{"city": "K\\u00f6ln", "lines": [1, null]}')

        self.assertEqual(order.shipping_address, {"city": "Köln", "lines": [1, None]})

    def test_json_reads_back(self) -> None:
        for value in [{"city": "Köln"}, [], {}, "text", 5, None]:
            made = Order.objects.create(shipping_address=value, total_cents=1)
            self.assertEqual(Order.objects.get(pk=made.pk).shipping_address, value)

    def test_without_the_right_key_nothing_is_revealed_and_nothing_is_sealed_twice(self) -> None:
        foreign = Fernet(Fernet.generate_key())
        ada, order = Profile.objects.create(), Order.objects.create(total_cents=1)
        for instance, name, text in [(ada, "first_name", "Ada"), (order, "shipping_address", '"Köln"')]:
            token = foreign.encrypt(text.encode()).decode()
            with self.assertRaises(InvalidToken):
                store(instance, name, token)
            self.assertEqual(stored(instance, name), token)

    def test_a_wrong_key_is_an_error_in_the_log_and_no_health(self) -> None:
        ada = Profile.objects.create()
        with self.assertRaises(InvalidToken):
            store(ada, "first_name", Fernet(Fernet.generate_key()).encrypt(b"Ada").decode())

        self.client.raise_request_exception = False
        with self.assertLogs("django.request", "ERROR") as logged:
            self.assertEqual(self.client.get("/health").status_code, 500)

        self.assertIn("InvalidToken", "".join(logging.Formatter().format(r) for r in logged.records))


class Keys(SimpleTestCase):
    def test_there_is_no_start_without_a_key(self) -> None:
        for environment in [{}, {"MESSAGE_ENCRYPTION_KEY": ""}, {"FIELD_ENCRYPTION_KEY": " , "}]:
            with self.assertRaisesMessage(ImproperlyConfigured, "MESSAGE_ENCRYPTION_KEY"):
                encryption_keys(environment)

    def test_a_list_of_keys_wins_and_keeps_its_order(self) -> None:
        environment = {"MESSAGE_ENCRYPTION_KEY": "one", "FIELD_ENCRYPTION_KEY": "new, old"}
        self.assertEqual(encryption_keys(environment), ["new", "old"])
        self.assertEqual(encryption_keys({"MESSAGE_ENCRYPTION_KEY": "one"}), ["one"])
