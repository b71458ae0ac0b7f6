from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("web", "0001_initial")]

    operations = [
        migrations.AlterField("profile", "first_name", models.CharField(blank=True, max_length=150, null=True)),
        migrations.AlterField("profile", "last_name", models.CharField(blank=True, max_length=150, null=True)),
    ]
