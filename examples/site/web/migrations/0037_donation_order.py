import django.db.models.deletion
from django.db import migrations, models


def primary_key():
    return ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))


def of_a_profile(related_name):
    to = django.db.models.deletion.CASCADE
    return ("profile", models.ForeignKey(null=True, on_delete=to, related_name=related_name, to="web.profile"))


class Migration(migrations.Migration):
    dependencies = [("web", "0023_profile_handles")]

    operations = [
        migrations.CreateModel(
            name="Donation",
            fields=[
                primary_key(),
                ("email", models.EmailField(blank=True, max_length=254, null=True)),
                ("amount_cents", models.PositiveIntegerField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                of_a_profile("donations"),
            ],
        ),
        migrations.CreateModel(
            name="Order",
            fields=[
                primary_key(),
                ("shipping_address", models.JSONField(blank=True, null=True)),
                ("total_cents", models.PositiveIntegerField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                of_a_profile("orders"),
            ],
        ),
    ]
