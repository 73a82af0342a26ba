"""Controls that show whether a result is about something other than the manipulation."""
