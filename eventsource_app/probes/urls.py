from django.urls import path

from eventsource_app.probes.views import HealthView, LiveView, ReadyView, metrics

urlpatterns = [
    path("health", HealthView.as_view(), name="health"),
    path("health/ready", ReadyView.as_view(), name="health-ready"),
    path("health/live", LiveView.as_view(), name="health-live"),
    path("metrics", metrics, name="metrics"),
]
