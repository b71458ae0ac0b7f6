from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("web", "0051_requests_and_votes")]

    operations = [
        migrations.AddField("profile", "stripe_account_id", models.CharField(blank=True, max_length=255, null=True)),
        migrations.AddField("profile", "points", models.IntegerField(default=0)),
    ]
