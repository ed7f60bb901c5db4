"""The public door of webhook triggers: `POST /hooks/{trigger_id}`, with no other credential than a signature."""
