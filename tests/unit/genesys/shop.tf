# A tenant as the provider's examples write it: a data action, segments, and the action maps that use them.
terraform {
  required_providers {
    genesyscloud = {
      source = "mypurecloud/genesyscloud"
    }
  }
}

variable "flow_id" {
  type = string
}

resource "genesyscloud_integration_action" "create_lead" {
  name                   = "Create Lead"
  category               = "CRM"
  integration_id         = genesyscloud_integration.crm.id
  secure                 = true
  config_timeout_seconds = 20
  contract_input = jsonencode({
    "type" = "object",
    "required" = [
      "email"
    ],
    "properties" = {
      "email" = {
        "type" = "string"
      },
      "score" = {
        "type" = "integer"
      },
      "tenant" = { "type" = "string" }
    }
  })
  contract_output = jsonencode({ "type" = "object", "properties" = { "id" = { "type" = "string" } } })
  config_request {
    # '$${' is a literal '${'
    request_url_template = "https://crm.example.com/v1/$${input.tenant}/leads?source=web&score=$esc.url($${input.score})"
    request_type         = "POST"
    request_template     = "{ \"lead\": { \"email\": \"$esc.jsonString($${input.email})\", \"score\": $${input.score} } }"
    headers = {
      Content-Type  = "application/json"
      Cache-Control = "no-cache"
      Authorization = "Bearer pat-na1-9de5c5c1"
    }
  }
  config_response {
    translation_map = {
      leadId = "$.id"
    }
    translation_map_defaults = {
      leadId = "\"UNKNOWN\""
    }
    success_template = "{ \"id\": $${leadId} }"
  }
}

resource "genesyscloud_journey_segment" "campaign" {
  display_name            = "Spring campaign"
  description             = "came by a mail of the spring campaign"
  color                   = "#008000"
  should_display_to_agent = false
  context {
    patterns {
      criteria {
        key                = "mktCampaign.name"
        values             = ["spring", "spring-2"]
        operator           = "containsAny"
        should_ignore_case = true
        entity_type        = "visit"
      }
      criteria {
        key                = "device.category"
        values             = ["desktop"]
        should_ignore_case = false
        entity_type        = "visit"
      }
    }
  }
  journey {
    patterns {
      criteria {
        key                = "page.pathname"
        values             = ["/pricing"]
        operator           = "startsWith"
        should_ignore_case = false
      }
      count        = 3
      stream_type  = "Web"
      session_type = "web"
      event_name   = "page_viewed"
    }
  }
}

resource "genesyscloud_journey_segment" "adobe" {
  display_name               = "Loyal customers"
  color                      = "#308000"
  scope                      = "Customer"
  assignment_expiration_days = 30
  external_segment {
    id     = "4654654654"
    name   = "loyal"
    source = "AdobeExperiencePlatform"
  }
}

resource "genesyscloud_journey_action_map" "hot_lead" {
  display_name          = "Hot lead!"
  trigger_with_segments = [genesyscloud_journey_segment.campaign.id, genesyscloud_journey_segment.adobe.id]
  activation {
    type             = "delay"
    delay_in_seconds = 60
  }
  weight = 3
  action {
    media_type = "architectFlow"
    architect_flow_fields {
      architect_flow_id = var.flow_id
      flow_request_mappings {
        name           = "session"
        attribute_type = "String"
        mapping_type   = "Lookup"
        value          = "session.id"
      }
      flow_request_mappings {
        name           = "queue"
        attribute_type = "Integer"
        mapping_type   = "HardCoded"
        value          = "999"
      }
    }
  }
  page_url_conditions {
    values   = ["/pricing", "/plans"]
    operator = "containsAny"
  }
  start_date = "2026-07-04T12:00:00.000000"
  end_date   = "2027-08-01T10:30:00.999000"

  depends_on = [genesyscloud_journey_segment.campaign]
}

resource "genesyscloud_journey_action_map" "cart" {
  display_name = "Cart"
  trigger_with_event_conditions {
    key          = "attributes.cartValue.value"
    values       = ["150"]
    operator     = "greaterThanOrEqual"
    stream_type  = "Web"
    session_type = "web"
    event_name   = "cart_added"
  }
  activation {
    type = "on-next-visit"
  }
  action {
    media_type = "integrationAction"
    integration_action_fields {
      integration_action_id = genesyscloud_integration_action.create_lead.id
      request_mappings {
        name           = "score"
        attribute_type = "Integer"
        mapping_type   = "Lookup"
        value          = "attributes.cartValue.value"
      }
    }
  }
  start_date = "2026-07-04T12:00:00.000000"
  is_active  = false
}

resource "genesyscloud_journey_action_map" "invitation" {
  display_name          = "Invitation"
  trigger_with_segments = [genesyscloud_journey_segment.campaign.id]
  activation {
    type = "immediate"
  }
  action {
    media_type = "webMessagingOffer"
  }
  start_date = "2026-07-04T12:00:00.000000"
}

resource "genesyscloud_user" "ann" {
  email = "ann@example.com"
}
