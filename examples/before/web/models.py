from django.db import models


class Profile(models.Model):
    first_name = models.CharField(max_length=150, blank=True, null=True)
    last_name = models.CharField(max_length=150, blank=True, null=True)
    email = models.EmailField(blank=True, null=True)
    discord_username = models.CharField(max_length=100, blank=True, null=True)
    slack_username = models.CharField(max_length=100, blank=True, null=True)
    github_username = models.CharField(max_length=100, blank=True, null=True)
    stripe_account_id = models.CharField(max_length=255, blank=True, null=True)
    is_mentor = models.BooleanField(default=False)
    points = models.IntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"Profile {self.pk}"


class Donation(models.Model):
    profile = models.ForeignKey(Profile, models.CASCADE, related_name="donations", null=True)
    email = models.EmailField(blank=True, null=True)
    amount_cents = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"Donation {self.pk}"


class Order(models.Model):
    profile = models.ForeignKey(Profile, models.CASCADE, related_name="orders", null=True)
    shipping_address = models.JSONField(blank=True, null=True)
    total_cents = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"Order {self.pk}"


class WebRequest(models.Model):
    path = models.CharField(max_length=200)
    ip_address = models.GenericIPAddressField(blank=True, null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"Request {self.pk}"


class FeatureVote(models.Model):
    feature = models.CharField(max_length=100)
    ip_address = models.GenericIPAddressField(blank=True, null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"Vote {self.pk}"
