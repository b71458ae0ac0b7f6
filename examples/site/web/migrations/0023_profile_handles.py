from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("web", "0014_longer_names")]

    operations = [
        migrations.AddField("profile", "discord_username", models.CharField(blank=True, max_length=100, null=True)),
        migrations.AddField("profile", "slack_username", models.CharField(blank=True, max_length=100, null=True)),
        migrations.AddField("profile", "github_username", models.CharField(blank=True, max_length=100, null=True)),
        migrations.AddField("profile", "is_mentor", models.BooleanField(default=False)),
    ]
