"""Encrypted field types for personal data. Rows stay as they are, and readable; the types change, both ways."""

from django.db import migrations

from web.fields import (
    CustomEncryptedCharField,
    CustomEncryptedEmailField,
    CustomEncryptedIPAddressField,
    CustomEncryptedJSONField,
)

NAMES = ["first_name", "last_name", "discord_username", "slack_username", "github_username", "stripe_account_id"]


class Migration(migrations.Migration):
    dependencies = [("web", "0062_profile_stripe_account_id_points")]

    operations = [
        *(
            migrations.AlterField("profile", name, CustomEncryptedCharField(blank=True, max_length=500, null=True))
            for name in NAMES
        ),
        *(
            migrations.AlterField(model, "email", CustomEncryptedEmailField(blank=True, max_length=500, null=True))
            for model in ["profile", "donation"]
        ),
        migrations.AlterField("order", "shipping_address", CustomEncryptedJSONField(blank=True, null=True)),
        *(
            migrations.AlterField(
                model, "ip_address", CustomEncryptedIPAddressField(blank=True, max_length=255, null=True)
            )
            for model in ["webrequest", "featurevote"]
        ),
    ]
